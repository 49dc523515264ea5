//! Zigzag varints as protobuf and Kafka write them. The 32-bit form is the same bytes for the
//! same number, so one width serves both.

/// Most bytes of one varint.
const MAX_BYTES: usize = 10;

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends `value`.
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes reserved by [`reserve`]: right for lengths of 64 to 8,191, which is nearly every event.
const RESERVED: usize = 2;

/// Leaves room for a length that is not known yet.
pub(super) fn reserve(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; RESERVED]);
}

/// Fills the room that [`reserve`] left at `at` with the number of bytes written since. What was
/// written moves only if the guess of [`RESERVED`] was wrong.
pub(super) fn fill(out: &mut Vec<u8>, at: usize) {
    let start = at + RESERVED;
    let length = out.len() - start;
    let mut code = [0u8; MAX_BYTES];
    let mut used = 0;
    let mut rest = zigzag(length as i64);
    loop {
        code[used] = rest as u8 & 0x7f;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        code[used] |= 0x80;
        used += 1;
    }
    let code = &code[..=used];
    if code.len() > RESERVED {
        out.resize(out.len() + code.len() - RESERVED, 0);
        out.copy_within(start..start + length, at + code.len());
    } else if code.len() < RESERVED {
        out.copy_within(start.., at + code.len());
        out.truncate(at + code.len() + length);
    }
    out[at..at + code.len()].copy_from_slice(code);
}

/// Takes one varint off the front of `input`; `None` if it is cut short or longer than 64 bits.
pub(super) fn take(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (i, byte) in input.iter().take(MAX_BYTES).enumerate() {
        // The tenth byte has room for the top bit only.
        if i == MAX_BYTES - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *input = &input[i + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
