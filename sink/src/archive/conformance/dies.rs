//! A store that dies: after so many steps nothing reaches it any more, as when the process was killed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::archive::Archive;

/// A store of which every reading and every writing is a step.
#[derive(Clone, Debug)]
pub(crate) struct Dies {
    inner: Arc<dyn ObjectStore>,
    left: Arc<AtomicI64>,
    /// Whether the last step is done, and only its answer is lost.
    after: bool,
}

impl Dies {
    /// An archive that dies after so many steps.
    pub(crate) fn archive(archive: &Archive, steps: i64, after: bool) -> Archive {
        let left = Arc::new(AtomicI64::new(steps));
        let inner = Arc::clone(&archive.target);
        Archive { target: Arc::new(Self { inner, left, after }), part_bytes: archive.part_bytes }
    }

    /// Whether this step is the last one; none when it does not come to it.
    fn step(&self) -> Result<bool> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        match left {
            ..0 => dead(),
            0 if !self.after => dead(),
            0 => Ok(true),
            _ => Ok(false),
        }
    }
}

fn dead<T>() -> Result<T> {
    Err(object_store::Error::Generic { store: "dies", source: "killed".into() })
}

impl fmt::Display for Dies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dies")
    }
}

#[async_trait]
impl ObjectStore for Dies {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let is_last = self.step()?;
        let done = self.inner.put_opts(at, payload, options).await?;
        if is_last { dead() } else { Ok(done) }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.step()?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let is_last = self.step()?;
        let done = self.inner.get_opts(at, options).await?;
        if is_last { dead() } else { Ok(done) }
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Result<Path>| {
            let this = this.clone();
            async move {
                let path = path?;
                let is_last = this.step()?;
                this.inner.delete(&path).await?;
                if is_last { dead() } else { Ok(path) }
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.step() {
            Ok(_) => self.inner.list(prefix),
            Err(error) => futures_util::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.step()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.step()?;
        self.inner.copy_opts(from, to, options).await
    }
}
