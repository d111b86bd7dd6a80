//! What the estimator does on links that are thin, that change, that lose, that jitter; each over some seeds.

use std::time::{Duration, Instant};

use super::Estimator;
use super::sim::{Link, Media, Seen, World, ms, secs};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=6;
const FIRST: u64 = 1_000_000;

#[test]
fn who_sends_all_of_the_estimate_has_most_of_the_link_and_no_queue() {
    for kbps in [200u64, 300, 500, 1000, 2000, 4000, 10_000, 20_000] {
        for seed in SEEDS {
            let link = kbps * 1000;
            let mut world = World::new(seed, FIRST, 25_000_000, Link::of(link), Media::GREEDY);
            world.run(secs(40));
            let case = format!("{kbps} kbit/s, seed {seed}");
            if link < FIRST {
                let found = world.first_since(secs(0), |estimate| estimate < link * 21 / 20);
                assert!(found.is_some_and(|after| after < secs(3)), "{case}: {found:?}");
            }
            let near = |low: u64, high: u64| {
                world.share_since(secs(10), |seen| (link * low..link * high).contains(&(seen.estimate * 100)))
            };
            assert!(near(75, 107) > 0.97, "{case}: {}", near(75, 107));
            assert!(near(70, 112) == 1.0, "{case}: {}", near(70, 112));
            let short = world.share_since(secs(5), |seen| seen.queue < ms(150));
            assert!(short > 0.88, "{case}: {short}");
        }
    }
}

#[test]
fn who_sends_little_learns_what_more_there_is_by_few_probes() {
    for seed in SEEDS {
        let mut world = World::new(seed, FIRST, 2_000_000, Link::of(4_000_000), Media::of(150_000));
        world.run(secs(60));
        let found = world.first_since(secs(0), |estimate| estimate >= 2_000_000);
        assert!(found.is_some_and(|after| after < secs(5)), "seed {seed}: {found:?}");
        assert_eq!(world.first_since(found.unwrap(), |estimate| estimate < 2_000_000), None, "seed {seed}");
        assert!(world.probe_bytes < 60_000, "seed {seed}: {}", world.probe_bytes);
        assert!(world.ticks < 10, "seed {seed}: {}", world.ticks);
    }
}

#[test]
fn a_link_that_has_less_than_is_looked_for_is_probed_seldom() {
    for seed in SEEDS {
        let mut world = World::new(seed, FIRST, 5_000_000, Link::of(1_500_000), Media::of(150_000));
        world.run(secs(60));
        assert!((1_200_000..1_575_000).contains(&world.estimate()), "seed {seed}: {}", world.estimate());
        assert!(
            world.probe_bytes < world.media_bytes / 4,
            "seed {seed}: {} of {}",
            world.probe_bytes,
            world.media_bytes
        );
    }
}

#[test]
fn what_probes_found_of_a_thin_link_is_kept_and_not_outgrown() {
    for seed in SEEDS {
        for (link, used) in [(700_000, 320_000), (300_000, 190_000), (1_300_000, 980_000)] {
            let mut world = World::new(seed, FIRST, 2_000_000, Link::of(link), Media::of(used));
            world.run(secs(60));
            let near = |seen: &Seen| (link * 75..link * 115).contains(&(seen.estimate * 100));
            let share = world.share_since(secs(10), near);
            assert!(share > 0.9, "{used} of {link} used, seed {seed}: {share}");
            assert!(world.least_since(secs(10)) >= used * 9 / 10, "{used} of {link} used, seed {seed}");
        }
    }
}

#[test]
fn a_link_that_thins_unseen_is_found_out_by_the_next_probe() {
    for seed in SEEDS {
        let mut world = World::new(seed, FIRST, 6_000_000, Link::of(4_000_000), Media::of(200_000));
        world.run(secs(10));
        world.link = Link::of(600_000);
        world.run(secs(13));
        assert!(world.estimate() < 700_000, "seed {seed}: {}", world.estimate());
        assert!(world.least_since(secs(10)) > 350_000, "seed {seed}: {}", world.least_since(secs(10)));
    }
}

#[test]
fn more_that_is_looked_for_is_found_soon() {
    for seed in SEEDS {
        let mut world = World::new(seed, FIRST, 500_000, Link::of(16_000_000), Media::of(150_000));
        world.run(secs(20));
        assert_eq!(world.probes.len(), 2, "seed {seed}: only the first ones");
        assert!(world.estimate() < 10_000_000, "seed {seed}: {}", world.estimate());
        let now = world.now;
        world.estimator.look_for(12_000_000, now);
        world.run(secs(3));
        assert!(world.estimate() >= 12_000_000, "seed {seed}: {}", world.estimate());
    }
}

#[test]
fn a_link_that_thins_is_followed_at_once_and_up_again_by_probes() {
    for seed in SEEDS {
        for media in [Media::GREEDY, Media::of(2_500_000)] {
            let mut world = World::new(seed, FIRST, 5_000_000, Link::of(4_000_000), media);
            world.run(secs(10));
            let case = format!("seed {seed}, {media:?}");
            world.link = Link::of(600_000);
            world.run(secs(20));
            let fell = world.first_since(secs(10), |estimate| estimate < 700_000);
            assert!(fell.is_some_and(|after| after < ms(1500)), "{case}: {fell:?}");
            let stayed = world.share_since(secs(12), |seen| (400_000..660_000).contains(&seen.estimate));
            assert!(stayed > 0.95, "{case}: {stayed}");
            world.link = Link::of(4_000_000);
            world.run(secs(30));
            let rose = world.first_since(secs(30), |estimate| estimate > 3_000_000);
            assert!(rose.is_some_and(|after| after < secs(12)), "{case}: {rose:?}");
            assert!(world.turns_since(secs(12)) <= 4, "{case}: {} turns", world.turns_since(secs(12)));
        }
    }
}

#[test]
fn losses_by_chance_are_no_congestion() {
    for seed in 1..=12 {
        for (loss, least) in [(0.05, 1_500_000), (0.1, 1_500_000), (0.2, 400_000)] {
            let link = Link { loss, ..Link::of(4_000_000) };
            let mut world = World::new(seed, FIRST, 3_000_000, link, Media::of(1_500_000));
            world.run(secs(40));
            let case = format!("{loss} lost, seed {seed}");
            let lowest = world.least_since(secs(2));
            assert!(lowest >= least, "{case}: {lowest}");
            assert!(world.share_since(secs(10), |seen| seen.estimate >= 1_500_000) > 0.85, "{case}");
            let told = world.estimator.loss(world.now).unwrap();
            assert!((f64::from(told) - loss).abs() < 0.08, "{case}: {told} told");
        }
    }
}

#[test]
fn what_a_path_drops_because_it_is_too_much_is_not_sent() {
    for seed in 1..=12 {
        let link = Link { policed: Some(500_000), ..Link::WIDE };
        let mut world = World::new(seed, FIRST, 2_000_000, link, Media::GREEDY);
        world.run(secs(10));
        let before = world.counted;
        world.run(secs(30));
        let share = world.share_since(secs(10), |seen| (350_000..600_000).contains(&seen.estimate));
        assert!(share > 0.97, "seed {seed}: {share}");
        let lost = (world.counted.1 - before.1) as f64 / (world.counted.0 - before.0) as f64;
        assert!(lost < 0.1, "seed {seed}: {lost}");
    }
}

#[test]
fn a_path_that_becomes_longer_costs_some_seconds_and_jitter_nothing() {
    for seed in SEEDS {
        for used in [150_000, 1_500_000] {
            let mut world = World::new(seed, FIRST, 2_000_000, Link::of(4_000_000), Media::of(used));
            world.run(secs(10));
            world.link.delay += ms(240);
            world.run(secs(20));
            let back = world.share_since(secs(16), |seen| seen.estimate >= used * 12 / 10);
            assert_eq!(back, 1.0, "{used} used, seed {seed}");
            let link = Link { jitter: ms(20), ..Link::of(4_000_000) };
            let mut world = World::new(seed, FIRST, 2_000_000, link, Media::of(used));
            world.run(secs(60));
            let lowest = world.least_since(secs(5));
            assert!(lowest >= 1_200_000.max(used), "{used} used, seed {seed}: {lowest}");
        }
        let link = Link { jitter: ms(20), ..Link::of(4_000_000) };
        let mut world = World::new(seed, FIRST, 5_000_000, link, Media::GREEDY);
        world.run(secs(60));
        let mean = world.mean_since(secs(10));
        assert!(mean > 3_000_000.0, "seed {seed}: {mean}");
        assert!(world.least_since(secs(10)) > 2_000_000, "seed {seed}: {}", world.least_since(secs(10)));
    }
}

#[test]
fn feedback_may_be_lost_come_twice_or_out_of_order() {
    for seed in SEEDS {
        let link = Link { feedback_loss: 0.1, feedback_twice: 0.2, feedback_jitter: ms(150), ..Link::of(4_000_000) };
        for media in [Media::GREEDY, Media::of(1_500_000)] {
            let mut world = World::new(seed, FIRST, 5_000_000, link, media);
            world.run(secs(40));
            let case = format!("seed {seed}, {media:?}");
            assert!(world.least_since(secs(10)) > 1_600_000, "{case}: {}", world.least_since(secs(10)));
            let queue = world.share_since(secs(5), |seen| seen.queue < ms(150));
            assert!(queue > 0.95, "{case}: {queue}");
            // What no feedback spoke of is not lost.
            assert!(world.estimator.loss(world.now).unwrap() < 0.02, "{case}");
        }
    }
}

#[test]
fn an_outage_is_no_congestion() {
    for seed in SEEDS {
        for (outage, media) in [
            (ms(300), Media::GREEDY),
            (ms(300), Media::of(1_500_000)),
            (secs(3), Media::GREEDY),
            (secs(3), Media::of(1_500_000)),
        ] {
            let mut world = World::new(seed, FIRST, 3_000_000, Link::of(4_000_000), media);
            world.run(secs(10));
            world.link.loss = 1.0;
            world.run(outage);
            world.link.loss = 0.0;
            let over = world.at();
            world.run(secs(15));
            let case = format!("{outage:?}, seed {seed}, {media:?}");
            let back = world.share_since(over + secs(2), |seen| seen.estimate >= 1_500_000);
            assert!(back > 0.99, "{case}: {back}");
        }
    }
}

#[test]
fn who_is_idle_costs_nothing_and_is_served_when_he_is_not() {
    for seed in SEEDS {
        let mut world = World::new(seed, FIRST, 6_000_000, Link::of(4_000_000), Media::of(1_500_000));
        world.run(secs(20));
        let estimate = world.estimate();
        world.media = Media::NONE;
        world.run(secs(3));
        let (ticks, probes) = (world.ticks, world.probes.len());
        world.run(secs(60));
        assert!(world.ticks <= ticks + 1, "seed {seed}: {} ticks", world.ticks - ticks);
        assert_eq!(world.probes.len(), probes, "seed {seed}");
        assert!(world.ticks > ticks || world.estimator.deadline().is_none(), "seed {seed}");
        assert!(world.estimate() >= estimate * 9 / 10, "seed {seed}");
        world.media = Media::GREEDY;
        world.run(secs(20));
        let lowest = world.least_since(secs(83));
        assert!(lowest > 2_500_000, "seed {seed}: {lowest}");
    }
}

#[test]
fn a_voice_alone_keeps_what_it_needs() {
    for seed in SEEDS {
        for link in [Link::of(4_000_000), Link { jitter: ms(20), ..Link::of(4_000_000) }, Link::of(90_000)] {
            let mut world = World::new(seed, 300_000, 100_000, link, Media::voice());
            world.run(secs(60));
            let lowest = world.least_since(secs(0));
            assert!(lowest >= 50_000, "seed {seed}, {link:?}: {lowest}");
            let queue = world.share_since(secs(1), |seen| seen.queue < ms(50));
            assert!(queue > 0.99, "seed {seed}, {link:?}: {queue}");
        }
    }
}

#[test]
fn the_same_again_gives_the_same() {
    let run = || {
        let link = Link { jitter: ms(20), loss: 0.05, feedback_loss: 0.1, ..Link::of(2_000_000) };
        let mut world = World::new(5, FIRST, 3_000_000, link, Media::GREEDY);
        world.run(secs(20));
        world.seen.iter().map(|seen| seen.estimate).collect::<Vec<u64>>()
    };
    assert_eq!(run(), run());
}

/// Of any size.
fn wild(rng: &mut fastrand::Rng) -> u64 {
    let shift = rng.u32(0..64);
    rng.u64(..) >> shift
}

#[test]
fn any_feedback_is_borne() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut now = start;
        let mut estimator = Estimator::new(rng.u64(0..10_000_000), now);
        let mut seq = rng.u64(0..1 << 40);
        for _ in 0..300 {
            now += Duration::from_micros(wild(&mut rng) >> 40);
            match rng.u32(0..8) {
                0 => estimator.look_for(wild(&mut rng), now),
                1 => estimator.handle_timeout(now),
                2 | 3 => {
                    for _ in 0..rng.u32(0..50) {
                        let probe = rng.bool().then(|| rng.u32(0..4));
                        let bytes = (wild(&mut rng) >> 32) as u32;
                        estimator.sent(seq, bytes, probe, 0, now);
                        seq = if rng.u32(0..100) == 0 { rng.u64(..) } else { seq.wrapping_add(1) };
                    }
                }
                _ => {
                    let base = if rng.bool() { rng.u16(..) } else { (seq as u16).wrapping_sub(rng.u16(0..60)) };
                    let mut at = if rng.u32(0..20) == 0 { rng.i64(..) } else { rng.i64(0..1 << 40) };
                    let arrivals = (0..rng.usize(0..80)).map(|_| {
                        at = at.wrapping_add((wild(&mut rng) >> 40) as i64 - 1000);
                        rng.bool().then_some(at)
                    });
                    estimator.feedback(base, arrivals.collect::<Vec<_>>().into_iter(), now, |_, _| {});
                }
            }
            _ = estimator.poll_probe(now);
            _ = estimator.poll_estimate();
            let estimate = estimator.estimate();
            assert!((50_000..=100_000_000).contains(&estimate), "seed {seed}: {estimate}");
            assert!(estimator.loss(now).is_none_or(|loss| (0.0..=1.0).contains(&loss)), "seed {seed}");
            assert!(estimator.round_trip().is_none_or(|time| time < secs(4000)), "seed {seed}");
            assert!(estimator.deadline().is_none_or(|at| at + secs(1) > now), "seed {seed}");
        }
    }
}
