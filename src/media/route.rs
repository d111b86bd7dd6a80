//! Who gets what: for every source of a room the compiled list of slots that show it.

use crate::base::Source;

/// Where a source's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Seat in the room.
    pub member: usize,
    pub source: Source,
}

/// A slot that shows a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    pub member: usize,
    pub slot: usize,
}

/// The lists by origin.
#[derive(Debug, Default)]
pub struct Routes {
    by_member: Vec<[Vec<Receiver>; Source::ALL.len()]>,
}

impl Routes {
    /// Replaces all lists.
    pub fn compile(&mut self, shown: impl Iterator<Item = (Origin, Receiver)>) {
        for lists in &mut self.by_member {
            lists.iter_mut().for_each(Vec::clear);
        }
        for (origin, receiver) in shown {
            if self.by_member.len() <= origin.member {
                self.by_member.resize_with(origin.member + 1, Default::default);
            }
            self.by_member[origin.member][origin.source as usize].push(receiver);
        }
    }

    pub fn receivers(&self, origin: Origin) -> &[Receiver] {
        self.by_member.get(origin.member).map_or(&[], |lists| &lists[origin.source as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiled_list_names_every_slot_and_nothing_of_before() {
        let origin = |member, source| Origin { member, source };
        let receiver = |member, slot| Receiver { member, slot };
        let mut routes = Routes::default();
        routes.compile(
            [(origin(2, Source::Camera), receiver(0, 1)), (origin(2, Source::Camera), receiver(1, 1))].into_iter(),
        );
        assert_eq!(routes.receivers(origin(2, Source::Camera)), [receiver(0, 1), receiver(1, 1)]);
        assert_eq!(routes.receivers(origin(2, Source::Screen)), []);
        assert_eq!(routes.receivers(origin(9, Source::Camera)), []);
        routes.compile(std::iter::once((origin(0, Source::Microphone), receiver(2, 0))));
        assert_eq!(routes.receivers(origin(2, Source::Camera)), []);
        assert_eq!(routes.receivers(origin(0, Source::Microphone)), [receiver(2, 0)]);
    }
}
