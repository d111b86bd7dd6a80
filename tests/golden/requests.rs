//! Every method of `/v1/ws` with every parameter missing, of every wrong type, oversized, unknown: refused as −32602, by name. What is said to
//! each is kept.

use callisto::signal::protocol::parse;
use serde_json::{Value, json};

/// A request that is right in every parameter it may have, those it can do without named.
struct Method {
    name: &'static str,
    params: Value,
    optional: &'static [&'static str],
    /// Optional ones that take null for absent.
    nullable: &'static [&'static str],
    /// Parameters with values that are too much.
    oversized: Vec<(&'static str, Value)>,
}

fn methods() -> Vec<Method> {
    let call = "call_00000000000000000000000001";
    let id = || ("callId", json!(format!("{call}0")));
    let of_call =
        |name| Method { name, params: json!({"callId": call}), optional: &[], nullable: &[], oversized: vec![id()] };
    let room_too_long = || ("roomId", json!({"strRoomId": "r".repeat(65)}));
    let users_too_many = || ("userIdList", json!(vec!["bob"; 1001]));
    let user_too_long = || ("userIdList", json!(["b".repeat(33)]));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    vec![
        Method {
            name: "login",
            params: json!({"sdkAppId": 1, "userId": "bob", "userSig": "x", "resumeToken": "t"}),
            optional: &["resumeToken"],
            nullable: &["resumeToken"],
            oversized: vec![("userId", json!("b".repeat(33))), ("sdkAppId", json!(4_294_967_296_u64))],
        },
        Method {
            name: "renewUserSig",
            params: json!({"userSig": "x"}),
            optional: &[],
            nullable: &[],
            oversized: vec![],
        },
        Method {
            name: "call",
            params: json!({
                "userIdList": ["bob"],
                "callMediaType": 1,
                "roomId": {"intRoomId": 1},
                "groupId": "g",
                "timeout": 30,
                "userData": "d",
                "webhook": {"url": "https://backend.example/", "secret": secret},
            }),
            optional: &["roomId", "groupId", "timeout", "userData", "webhook"],
            nullable: &["roomId", "timeout", "webhook"],
            oversized: vec![
                users_too_many(),
                user_too_long(),
                ("callMediaType", json!(2)),
                room_too_long(),
                ("roomId", json!({"intRoomId": 4_294_967_296_u64})),
                ("groupId", json!("g".repeat(65))),
                ("timeout", json!(3601)),
                ("timeout", json!(0)),
                ("userData", json!("d".repeat(4097))),
                ("webhook", json!({"url": format!("https://a.example/{}", "x".repeat(5000)), "secret": secret})),
                ("webhook", json!({"url": "https://a.example/", "secret": "whsec_AAAA"})),
            ],
        },
        of_call("accept"),
        of_call("reject"),
        of_call("hangup"),
        Method {
            name: "inviteUser",
            params: json!({"callId": call, "userIdList": ["bob"], "timeout": 30}),
            optional: &["timeout"],
            nullable: &["timeout"],
            oversized: vec![id(), users_too_many(), user_too_long(), ("timeout", json!(u64::MAX))],
        },
        Method {
            name: "join",
            params: json!({"roomId": {"strRoomId": "r"}, "callMediaType": 0}),
            optional: &["callMediaType"],
            nullable: &[],
            oversized: vec![room_too_long(), ("callMediaType", json!(-1))],
        },
        Method {
            name: "switchCallMediaType",
            params: json!({"callId": call, "callMediaType": 0}),
            optional: &[],
            nullable: &[],
            oversized: vec![id(), ("callMediaType", json!(2))],
        },
        Method {
            name: "offer",
            params: json!({"callId": call, "sdp": "v=0", "sources": {"0": "microphone"}}),
            optional: &[],
            nullable: &[],
            oversized: vec![id(), ("sources", json!({"m".repeat(17): "camera"})), ("sources", json!({"0": "nose"}))],
        },
        Method {
            name: "mute",
            params: json!({"callId": call, "source": "camera", "muted": true}),
            optional: &[],
            nullable: &[],
            oversized: vec![id(), ("source", json!("cameras"))],
        },
        Method {
            name: "view",
            params: json!({"callId": call, "slots": [{"mid": "0", "userId": "bob", "source": "camera", "maxHeight": 9}]}),
            optional: &[],
            nullable: &[],
            oversized: vec![
                id(),
                ("slots", json!([{"mid": "m".repeat(17), "userId": "bob", "source": "camera"}])),
                ("slots", json!([{"mid": "0", "userId": "b".repeat(33), "source": "camera"}])),
                ("slots", json!([{"mid": "0", "userId": "bob", "source": "camera", "maxHeight": 65536}])),
                ("slots", json!([{"mid": "0", "userId": "bob", "source": "camera", "colour": 1}])),
                ("slots", json!([{"userId": "bob", "source": "camera"}])),
            ],
        },
        Method { name: "ping", params: json!({}), optional: &[], nullable: &[], oversized: vec![] },
    ]
}

/// One of each kind of JSON.
fn kinds() -> [Value; 7] {
    [json!(null), json!(true), json!(-1.5), json!("\u{0}"), json!([[]]), json!({"": 0}), json!("\u{1f600}".repeat(40))]
}

fn frame(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// The refusal, which must be one of the parameters' form.
fn refused(method: &str, params: &Value) -> String {
    match parse(&frame(method, params)) {
        Ok(taken) => panic!("{method} {params} was taken: {taken:?}"),
        Err(malformed) => {
            assert_eq!((malformed.code, &malformed.id), (-32602, &json!(1)), "{method} {params}");
            malformed.message
        }
    }
}

#[test]
fn every_method_takes_what_it_is_documented_to_take() {
    for method in methods() {
        parse(&frame(method.name, &method.params)).unwrap_or_else(|bad| panic!("{}: {bad:?}", method.name));
        for name in method.optional {
            let mut params = method.params.clone();
            params.as_object_mut().unwrap().remove(*name).expect("a parameter");
            parse(&frame(method.name, &params)).unwrap_or_else(|bad| panic!("{} without {name}: {bad:?}", method.name));
        }
    }
}

#[test]
fn every_wrong_parameter_is_refused_by_its_name_and_as_kept() {
    let mut kept = String::new();
    let mut note = |what: String, message: String| kept += &format!("{what}\n    {message}\n");
    for Method { name, params, optional, nullable, oversized } in methods() {
        for positional in [json!([]), json!("x"), json!(1), json!([params.clone()])] {
            assert!(refused(name, &positional).starts_with("params:"), "{name} {positional}");
        }
        let with = |key: &str, value: Value| {
            let mut changed = params.clone();
            changed[key] = value;
            changed
        };
        let message = refused(name, &with("colour", json!("red")));
        assert!(message.contains("`colour`"), "{message}");
        note(format!("{name} colour=\"red\""), message);
        for key in params.as_object().unwrap().keys() {
            if !optional.contains(&key.as_str()) {
                let mut without = params.clone();
                without.as_object_mut().unwrap().remove(key);
                let message = refused(name, &without);
                assert!(message.contains(key) || name == "join", "{name} without {key}: {message}");
                note(format!("{name} without {key}"), message);
            }
            for kind in kinds() {
                let free_text = ["sdp", "userSig", "resumeToken", "userData"].contains(&key.as_str())
                    || key == "groupId" && kind.as_str().is_some_and(|text| text.len() <= 64);
                let right = match &kind {
                    Value::Null => nullable.contains(&key.as_str()),
                    Value::String(_) => free_text,
                    Value::Bool(_) => key == "muted",
                    _ => false,
                };
                if !right {
                    let message = refused(name, &with(key, kind.clone()));
                    assert!(message.contains(key.as_str()), "{name} {key}={kind}: {message}");
                }
            }
        }
        for (key, value) in oversized {
            let message = refused(name, &with(key, value.clone()));
            assert!(message.contains(key), "{name} {key}: {message}");
            let value: String = value.to_string().chars().take(60).collect();
            note(format!("{name} {key}={value}"), message);
        }
    }
    crate::expect_as_kept("refusals.txt", &kept);
}

#[test]
fn every_cut_of_a_frame_is_refused_and_none_harms() {
    for method in methods() {
        let whole = frame(method.name, &method.params);
        for at in 0..whole.len() {
            assert_eq!(parse(&whole[..at]).unwrap_err().code, -32700, "{}", &whole[..at]);
        }
    }
    let deep = "[".repeat(60_000);
    assert_eq!(parse(&deep).unwrap_err().code, -32700);
    assert_eq!(
        parse(&format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{deep}")).unwrap_err().code,
        -32700
    );
}
