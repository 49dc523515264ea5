//! What a hook promises, in a world of scripted receivers, crashes and partitions that go.

use super::*;

#[tokio::test(start_paused = true)]
async fn alerts_are_told_in_order_through_failures() {
    let mut tries = 0;
    let world = World::new(move |_| {
        tries += 1;
        Some(match tries % 4 {
            1 => 0,
            2 => 503,
            3 => 429,
            _ => 200,
        })
    });
    for id in ["a", "b"] {
        world.add_alert(0, id, "firing");
        world.add_alert(0, id, "resolved");
    }
    let status = Status::new();
    let (_stop, _run) = world.start("", &status);
    world.until(|world| world.offset(0) == 4).await;
    assert_eq!(world.taken(), ["a/firing", "a/resolved", "b/firing", "b/resolved"]);
    assert!(!status.has_problem(Part::Hook(0)));
    // Waits grow: three failures take at least half of 100, 200 and 400 ms.
    let times: Vec<_> = world.lock().requests.iter().map(|told| told.at).collect();
    assert!(times[3] - times[0] >= Duration::from_millis(350), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn one_alert_that_is_refused_stops_no_other() {
    let world = World::new(|told| Some(if told.ids[0].starts_with("bad/") { 422 } else { 200 }));
    for id in ["a", "bad", "b"] {
        world.add_alert(0, id, "firing");
    }
    let (_stop, _run) = world.start("", &Status::new());
    world.until(|world| world.offset(0) == 3).await;
    assert_eq!(world.taken(), ["a/firing", "b/firing"]);
    assert_eq!(world.tries(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_is_told_and_loses_no_alert() {
    let world = World::new(|_| Some(401));
    world.add_alert(0, "a", "firing");
    let status = Status::new();
    let (_stop, _run) = world.start("", &status);
    world.until(|world| world.tries() > 10).await;
    let problems = status.problems();
    assert!(problems[0].message.contains("401; check `token` or `secret`"), "{problems:?}");
    // Below the first record nothing is done.
    assert_eq!((world.taken().len(), world.offset(0)), (0, 0));
    world.answers(|_| Some(200));
    world.until(|world| world.offset(0) == 1).await;
    assert_eq!(world.taken(), ["a/firing"]);
    assert!(status.problems().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_comes_twice_is_told_once() {
    let world = World::new(|_| Some(200));
    for id in ["a", "b", "a", "b"] {
        world.add_alert(0, id, "firing");
    }
    world.add(0, &json!({"no": "alert"}));
    world.add_alert(0, "a", "resolved");
    let (_stop, _run) = world.start("", &Status::new());
    world.until(|world| world.offset(0) == 6).await;
    assert_eq!(world.taken(), ["a/firing", "b/firing", "a/resolved"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_kinds_that_are_wanted_are_told() {
    let world = World::new(|_| Some(200));
    for (id, kind) in [("a", "reading"), ("b", "log"), ("c", "silence")] {
        let mut value = alert_json(id, "firing");
        value["data"]["kind"] = json!(kind);
        world.add(0, &value);
    }
    let (_stop, _run) = world.start("kinds = ['log', 'silence']", &Status::new());
    world.until(|world| world.offset(0) == 3).await;
    assert_eq!(world.taken(), ["b/firing", "c/firing"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_away_takes_no_memory() {
    let world = World::new(|_| Some(0));
    for n in 0..5_000 {
        world.add_alert(n % 3, &format!("a{n}"), "firing");
    }
    let (_stop, _run) = world.start("", &Status::new());
    world.until(|world| world.tries() > 100).await;
    assert!(world.lock().taken <= 64, "{} records were taken", world.lock().taken);
    world.answers(|_| Some(200));
    world.until(|world| (0..3).map(|n| world.offset(n)).sum::<i64>() == 5_000).await;
    let told: BTreeSet<_> = world.taken().into_iter().collect();
    assert_eq!((told.len(), world.taken().len()), (5_000, 5_000));
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_the_try_that_runs_and_commits() {
    let world = World::new(|_| Some(200));
    world.add_alert(0, "a", "firing");
    let (stop, run) = world.start("", &Status::new());
    world.until(|world| world.tries() > 0).await;
    stop.send(true).unwrap();
    run.await.unwrap();
    assert_eq!(world.offset(0), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_let_go_after_the_try_and_not_committed() {
    let world = World::new(|_| None);
    world.add_alert(0, "a", "firing");
    world.add_alert(1, "b", "firing");
    let (_stop, _run) = world.start("", &Status::new());
    world.until(|world| world.tries() == 1).await;
    let asked = Instant::now();
    let answer = revoke(&world, &[0]);
    world.answers(|_| Some(200));
    answer.await.unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(10), "{:?}", asked.elapsed());
    // The other partition is told; the one that is gone is not.
    world.until(|world| world.offset(1) == 1).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((world.taken(), world.offset(0)), (vec!["b/firing".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn alertmanager_hears_again_of_what_fires_until_it_is_resolved() {
    let world = World::new(|_| Some(200));
    for id in ["a", "b"] {
        world.add_alert(0, id, "firing");
    }
    world.add_alert(0, "a", "resolved");
    let (_stop, _run) = world.start("alertmanager", &Status::new());
    world.until(|world| world.taken().len() == 3).await;
    sleep(Duration::from_secs(150)).await;
    let told = world.taken();
    assert_eq!(told, ["a/firing", "b/firing", "a/resolved", "b/firing", "b/firing"]);
    // Reading begins at what still fires.
    assert_eq!(world.offset(0), 1);
    world.add_alert(0, "b", "resolved");
    world.until(|world| world.offset(0) == 4).await;
    let tries = world.tries();
    sleep(Duration::from_secs(600)).await;
    assert_eq!((world.tries(), world.taken().last().unwrap().as_str()), (tries, "b/resolved"));
}

#[tokio::test(start_paused = true)]
async fn alertmanager_hears_of_what_fires_after_a_restart_too() {
    let world = World::new(|_| Some(200));
    for id in ["a", "b", "c"] {
        world.add_alert(0, id, "firing");
    }
    world.add_alert(0, "b", "resolved");
    let (stop, run) = world.start("alertmanager", &Status::new());
    world.until(|world| world.taken().len() == 4).await;
    stop.send(true).unwrap();
    run.await.unwrap();
    assert_eq!(world.offset(0), 0);
    world.lock().requests.clear();
    let (_stop, _run) = world.start("alertmanager", &Status::new());
    // What was resolved is not said to fire, and what fires is told at once.
    world.until(|world| world.tries() == 1).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.taken(), ["a/firing", "c/firing"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_resolved_fires_no_more_even_if_it_comes_again_or_is_refused() {
    let world = World::new(|told| Some(if told.ids == ["b/resolved"] { 400 } else { 200 }));
    for (id, state) in
        [("a", "firing"), ("b", "firing"), ("a", "resolved"), ("b", "resolved"), ("a", "firing")]
    {
        world.add_alert(0, id, state);
    }
    let (stop, run) = world.start("alertmanager", &Status::new());
    world.until(|world| world.offset(0) == 5).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(world.taken(), ["a/firing", "b/firing", "a/resolved"]);
    stop.send(true).unwrap();
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn new_alerts_are_not_starved_by_a_slow_repetition() {
    let world = World::new(|_| Some(200));
    // One list of repetitions takes 5 ms; let it be due all the time.
    for n in 0..2_000 {
        world.add_alert(0, &format!("a{n}"), "firing");
    }
    let (_stop, _run) = world.start("alertmanager", &Status::new());
    world.until(|world| world.taken().len() >= 2_000).await;
    world.answers(|told| if told.ids.len() > 1 { None } else { Some(200) });
    sleep(Duration::from_secs(70)).await;
    world.add_alert(0, "new", "firing");
    let begun = Instant::now();
    world.until(|world| world.taken().iter().any(|id| id == "new/firing")).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// Any mixture of failures, crashes and stops: each record is told, what fires first before what is resolved.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_and_nothing_overtakes_whatever_happens() {
    for (seed, kind) in (0..40_u64).flat_map(|seed| [(seed, ""), (seed, "alertmanager")]) {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut roll = move |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides
        };
        let mut answer = roll;
        let world = World::new(move |_| match answer(6) {
            0 => Some(0),
            1 => Some(500),
            2 if answer(8) == 0 => None,
            _ => Some(200),
        });
        let ids: Vec<String> = (0..40).map(|n| format!("a{n}")).collect();
        for state in ["firing", "resolved"] {
            for (n, id) in (0..).zip(&ids) {
                world.add_alert(n % 2, id, state);
            }
        }
        for _ in 0..5 {
            let (stop, run) = world.start(kind, &Status::new());
            sleep(Duration::from_millis(roll(4_000))).await;
            if roll(2) == 0 {
                run.abort();
            } else {
                stop.send(true).unwrap();
            }
            let _ = run.await;
        }
        let (_stop, _run) = world.start(kind, &Status::new());
        world.until(|world| world.offset(0) == 40 && world.offset(1) == 40).await;
        let told = world.taken();
        for id in &ids {
            let at = |state: &str| told.iter().position(|t| *t == format!("{id}/{state}"));
            let (firing, resolved) = (at("firing"), at("resolved"));
            assert!(firing.is_some() && firing < resolved, "seed {seed} {kind}: {id} {told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_fires_is_repeated_when_its_partition_went_and_came_back() {
    let world = World::new(|_| Some(200));
    world.add_alert(0, "a", "firing");
    world.add_alert(0, "b", "firing");
    world.add_alert(0, "b", "resolved");
    let (_stop, _run) = world.start("alertmanager", &Status::new());
    world.until(|world| world.taken().len() >= 4).await;
    revoke(&world, &[0]).await.unwrap();
    let before = world.taken().len();
    world.until(|world| world.taken().len() >= before + 3).await;
    assert!(world.taken()[before..].iter().all(|id| id == "a/firing"), "{:?}", world.taken());
}

#[tokio::test(start_paused = true)]
async fn one_alert_that_is_not_taken_again_keeps_no_other_from_being_repeated() {
    let world = World::new(|_| Some(200));
    for id in ["a", "b", "c", "d", "e"] {
        world.add_alert(0, id, "firing");
    }
    let (_stop, _run) = world.start("alertmanager", &Status::new());
    world.until(|world| world.taken().len() >= 5).await;
    world.answers(|told| Some(if told.ids.iter().any(|id| id == "c/firing") { 400 } else { 200 }));
    let before = world.taken().len();
    for id in ["a/firing", "b/firing", "d/firing", "e/firing"] {
        let times =
            |world: &World| world.taken()[before..].iter().filter(|told| *told == id).count();
        world.until(|world| times(world) >= 3).await;
    }
    assert!(!world.taken()[before..].contains(&"c/firing".to_owned()));
}
