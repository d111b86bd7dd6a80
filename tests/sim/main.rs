//! Simulations: the cores on a virtual clock, fed with random inputs. One seed is one run; a failure prints its seed.
//! `SIM_SEED=n cargo test --test sim` runs that seed alone, `SIM_RUNS=n` more or fewer of them.

mod calls;
mod contract;
mod devices;
mod orders;
mod rows;
mod rules;
mod story;
mod world;

/// A small deterministic generator (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0…n − 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }
}

/// Runs `run` for each seed; names the seed of a failure.
pub fn for_each_seed(default_runs: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SIM_SEED") {
        return run(seed);
    }
    for seed in 0..number("SIM_RUNS").unwrap_or(default_runs) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("failed with SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
