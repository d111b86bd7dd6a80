//! What the people of one call do. Whatever happens on the way, everyone wants out in the end.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::actor::{Actor, Gate, Told};

/// A rung user waits so long for the ring.
const RING_WITHIN: Duration = Duration::from_secs(15);

/// One call, from its placing until nobody is in it. Its users are in no other.
pub async fn play(number: u64, gate: Arc<Gate>, mut rng: Rng) -> Vec<Told> {
    let user = |name: &str| format!("c{number}-{name}");
    let gate = &*gate;
    match rng.u8(..10) {
        0..=3 => talk(gate, [user("a"), user("b")], &mut rng).await,
        4 => unanswered(gate, [user("a"), user("b")], &mut rng).await,
        5..=7 => group(gate, ["a", "b", "c", "d"].map(user), &mut rng).await,
        _ => room(gate, format!("room {number}"), ["a", "b", "c"].map(user), &mut rng).await,
    }
}

/// One calls another, they talk, one hangs up; or one vanishes and never comes back.
async fn talk(gate: &Gate, users: [String; 2], rng: &mut Rng) -> Vec<Told> {
    let mut people = users.clone().map(|user| Actor::new(gate, user));
    let [caller, callee] = &mut people;
    callee.be_online().await;
    let call = place(caller, json!({"userIdList": [users[1]], "callMediaType": 1})).await;
    callee.listen(RING_WITHIN, |callee| callee.call.is_some()).await;
    let _ = callee.ask("accept", json!({"callId": call})).await;
    for person in &mut people {
        person.listen(pause(rng), |person| person.is_out_of(&call)).await;
    }
    if rng.u8(..4) == 0 {
        people[rng.usize(..2)].vanish();
    }
    leave_one_by_one(people, &call, rng).await
}

/// One calls another, who rejects or does not answer; or the caller thinks better of it.
async fn unanswered(gate: &Gate, users: [String; 2], rng: &mut Rng) -> Vec<Told> {
    let mut people = users.clone().map(|user| Actor::new(gate, user));
    let [caller, callee] = &mut people;
    callee.be_online().await;
    let call = place(caller, json!({"userIdList": [users[1]], "callMediaType": 0, "timeout": 2})).await;
    match rng.u8(..3) {
        0 => drop(callee.ask("reject", json!({"callId": call})).await),
        1 => drop(caller.ask("hangup", json!({"callId": call})).await),
        _ => drop(caller.listen(RING_WITHIN, |caller| caller.is_out_of(&call)).await),
    }
    leave_one_by_one(people, &call, rng).await
}

/// Three are called, some answer, a fourth is invited.
async fn group(gate: &Gate, users: [String; 4], rng: &mut Rng) -> Vec<Told> {
    let mut people = users.clone().map(|user| Actor::new(gate, user));
    for person in &mut people[1..] {
        person.be_online().await;
    }
    let params = json!({"userIdList": [users[1], users[2]], "callMediaType": 1, "groupId": "g"});
    let call = place(&mut people[0], params).await;
    for person in &mut people[1..3] {
        person.listen(RING_WITHIN, |person| person.call.is_some()).await;
        let answer = if rng.u8(..4) == 0 { "reject" } else { "accept" };
        let _ = person.ask(answer, json!({"callId": call})).await;
    }
    let _ = people[0].ask("inviteUser", json!({"callId": call, "userIdList": [users[3]], "timeout": 3})).await;
    if rng.bool() {
        let _ = people[3].ask("accept", json!({"callId": call})).await;
    }
    for person in &mut people {
        person.listen(pause(rng), |person| person.is_out_of(&call)).await;
    }
    leave_one_by_one(people, &call, rng).await
}

/// A room that people enter and leave.
async fn room(gate: &Gate, name: String, users: [String; 3], rng: &mut Rng) -> Vec<Told> {
    let mut people = users.map(|user| Actor::new(gate, user));
    let mut call = String::new();
    for person in &mut people {
        let entered = person.ask("join", json!({"roomId": {"strRoomId": name}, "callMediaType": 0})).await;
        // The answer may have been lost with its connection: whoever is back in the call was let in.
        let id = entered.ok().and_then(|entered| call_id(&entered)).or_else(|| person.call.clone());
        call = id.unwrap_or(call);
        person.listen(pause(rng), |_| false).await;
    }
    leave_one_by_one(people, &call, rng).await
}

/// Places a call. When the answer is lost, the next log-in says whether there is one.
async fn place(caller: &mut Actor<'_>, params: Value) -> String {
    loop {
        caller.be_online().await;
        if let Some(call) = &caller.call {
            return call.clone();
        }
        match caller.ask_once("call", params.clone()).await {
            Ok(Ok(placed)) => return call_id(&placed).expect("a call has an id"),
            Ok(Err(code)) => assert_eq!(code, -1203, "only a call that is there already stands against another"),
            Err(_) => {}
        }
    }
}

fn call_id(result: &Value) -> Option<String> {
    result["callId"].as_str().map(str::to_owned)
}

fn pause(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(100..3000))
}

/// Everyone hangs up, each in their own time; who vanished does not.
async fn leave_one_by_one<const N: usize>(people: [Actor<'_>; N], call: &str, rng: &mut Rng) -> Vec<Told> {
    let mut told = Vec::new();
    for mut person in people {
        if !person.has_vanished() {
            let _ = person.ask("hangup", json!({"callId": person.call.clone().unwrap_or(call.to_owned())})).await;
            person.listen(Duration::from_millis(rng.u64(..300)), |person| person.is_out_of(call)).await;
        }
        told.extend(person.told);
    }
    told
}
