//! What is known of devices.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use weir_agent::enrich::{Enricher, MetadataConfig, Table, Update};
use weir_models::device::Device;

use super::lines::{RECEIVED_US, host};

pub const SITE: &str = "plant";

/// A device as an inventory has it.
fn device(name: String, n: usize) -> Device {
    let meta = [("hall", n % 12), ("line", n % 40), ("rack", n % 9), ("owner", n % 7)];
    let meta = meta.map(|(key, value)| (key.to_owned(), format!("{key}-{value}")));
    Device {
        site: SITE.into(),
        device: name,
        aliases: vec![format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)],
        meta: BTreeMap::from(meta),
        units: BTreeMap::new(),
        updated_us: 1,
    }
}

/// A table of `count` devices named `host-0000` and so on.
pub fn table(folder: &Path, count: usize) -> Arc<Table> {
    let table = Table::open(&folder.join("metadata.redb")).unwrap();
    let name = |n: usize| if n < 1_000 { host(n) } else { format!("host-{n}") };
    let devices: Vec<Update> = (0..count).map(|n| Update::Put(device(name(n), n))).collect();
    table.apply(&devices).unwrap();
    table.in_step(RECEIVED_US);
    Arc::new(table)
}

/// The look-up of an agent that keeps `memory_entries` of them in memory.
pub fn enricher(table: Arc<Table>, memory_entries: usize) -> Enricher {
    let memory_entries = NonZeroUsize::new(memory_entries).unwrap();
    Enricher::new(&MetadataConfig { memory_entries, ..MetadataConfig::default() }, table)
}
