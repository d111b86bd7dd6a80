//! Which of a track's encodings a slot should show: a pure choice.

/// Another encoding must be this much richer to be worth a switch. Lower makes slots flap between encodings of one rate.
const RICHER: f64 = 1.25;

/// An encoding as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its packets arrive.
    pub flowing: bool,
    /// Bits per second.
    pub bitrate: u64,
}

/// The richest flowing encoding; the present one when none is clearly better. Before anything flows: the only one there is, or none.
pub fn select(encodings: &[Candidate], present: Option<usize>) -> Option<usize> {
    let flowing = |index: &usize| encodings[*index].flowing;
    let best = (0..encodings.len()).filter(flowing).max_by_key(|index| encodings[*index].bitrate);
    let present = present.filter(|index| *index < encodings.len());
    match (best, present) {
        (Some(best), Some(present)) if flowing(&present) => {
            let enough = encodings[present].bitrate as f64 * RICHER;
            Some(if encodings[best].bitrate as f64 > enough { best } else { present })
        }
        (Some(best), _) => Some(best),
        (None, present) => present.or((encodings.len() == 1).then_some(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_richest_flowing_encoding_is_shown() {
        let on = |bitrate| Candidate { flowing: true, bitrate };
        let off = |bitrate| Candidate { flowing: false, bitrate };
        let table: &[(&[Candidate], Option<usize>, Option<usize>)] = &[
            (&[], None, None),
            (&[off(0)], None, Some(0)),
            (&[off(0), off(0)], None, None),
            (&[on(100), on(300), on(900)], None, Some(2)),
            (&[on(100), on(300), off(900)], Some(2), Some(1)),
            (&[on(100), on(110)], Some(0), Some(0)),
            (&[on(100), on(130)], Some(0), Some(1)),
            (&[off(100), off(130)], Some(0), Some(0)),
            (&[on(100)], Some(7), Some(0)),
        ];
        for (encodings, present, expected) in table {
            assert_eq!(select(encodings, *present), *expected, "{encodings:?} from {present:?}");
        }
    }
}
