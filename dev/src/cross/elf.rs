//! What an ELF file says of the machines it runs on.
//!
//! In: the bytes of a little-endian program of 32 or 64 bits. Out: machine, linkage and alignment;
//! none for anything else.

/// What matters of a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// `e_machine`.
    pub(super) machine: u16,
    /// Whether it names an interpreter, that is, needs shared libraries.
    pub(super) dynamic: bool,
    /// The smallest alignment of a segment to load.
    pub(super) align_bytes: u64,
}

const LOAD: u64 = 1;
const INTERPRETER: u64 = 3;

/// Reads the header and the program headers.
pub(super) fn read(bytes: &[u8]) -> Option<Program> {
    let wide = match bytes.get(..6)? {
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        _ => return None,
    };
    let number = |at: u64, width: u64| {
        let (at, width) = (usize::try_from(at).ok()?, usize::try_from(width).ok()?);
        let part = bytes.get(at..at.checked_add(width)?)?;
        Some(part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    // (offset of the table, size of an entry, entries; p_align within an entry; width of both)
    let (table, size, count, align, width) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?, 48, 8)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?, 28, 4)
    };
    let machine = u16::try_from(number(18, 2)?).ok()?;
    let mut program = Program { machine, dynamic: false, align_bytes: u64::MAX };
    for i in 0..count {
        let entry = table.checked_add(i * size)?;
        match number(entry, 4)? {
            INTERPRETER => program.dynamic = true,
            LOAD => {
                program.align_bytes = program.align_bytes.min(number(entry + align, width)?);
            }
            _ => {}
        }
    }
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF of 64 bits with these program headers: (type, alignment).
    fn elf64(machine: u16, headers: &[(u32, u64)]) -> Vec<u8> {
        let mut out = vec![0; 64];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        out[18..20].copy_from_slice(&machine.to_le_bytes());
        out[32..40].copy_from_slice(&64u64.to_le_bytes());
        out[54..56].copy_from_slice(&56u16.to_le_bytes());
        out[56..58].copy_from_slice(&(headers.len() as u16).to_le_bytes());
        for (kind, align) in headers {
            let mut header = [0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[48..].copy_from_slice(&align.to_le_bytes());
            out.extend(header);
        }
        out
    }

    #[test]
    fn a_program_says_what_it_needs() {
        let fixed = elf64(183, &[(1, 0x10000), (1, 0x1000), (2, 8)]);
        let expected = Program { machine: 183, dynamic: false, align_bytes: 0x1000 };
        assert_eq!(read(&fixed), Some(expected));
        assert!(read(&elf64(62, &[(3, 1), (1, 4096)])).is_some_and(|program| program.dynamic));
    }

    #[test]
    fn our_own_program_is_read() {
        let ours = std::env::current_exe().and_then(std::fs::read).unwrap_or_default();
        assert!(read(&ours).is_some_and(|program| program.align_bytes >= 4096));
    }

    #[test]
    fn what_is_no_program_is_none() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"#!/bin/sh\n"), None);
        let cut = elf64(183, &[(1, 4096)]);
        assert_eq!(read(&cut[..100]), None);
    }
}
