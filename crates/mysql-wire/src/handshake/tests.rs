//! Handshakes with a server that says what it is told to.

use proptest::prelude::*;

use super::*;

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA5maTzZhPnl+3SCCFutrT
89QP5q7TdwiaOfoRc/iqXMRUNVoJnz79mCvFoDbS60aHZxM4IWHn+2/QizIpJoV5
jEnMKlHYM7lc1ZoyLSHD5Hl2kuZXl2UeLXYzjQxdERiShjop2JAQY5qbvfEjbC1a
FN76E8M28OQcvTYS/ggi5/orDdPnBTou23CYnCHSmtdTUvaERzUzpZoOnTUANWX5
eUIBchDkdJXa3HEQ/eJqITqPB99ELa/ui0x5UyYBqsmYtFmfVOQHqq24o4j1qV8H
4OPOY2iAdYhkZlM+/1s5ppyLZqAozZqat04DqM8QZjya8kuKOqIDL/I+tJzAZuFT
hQIDAQAB
-----END PUBLIC KEY-----
";

fn greeting(plugin: &str, ssl: bool) -> Vec<u8> {
    let mut capabilities = 0xffff_ffff_u32;
    if !ssl {
        capabilities &= !CLIENT_SSL;
    }
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut out = b"\x0a9.7.4\0".to_vec();
    out.extend(5_u32.to_le_bytes());
    out.extend(b"12345678\0");
    out.extend([a, b, 255, 2, 0, c, d, 21]);
    out.extend([0; 10]);
    out.extend(b"901234567890\0");
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    out
}

fn handshake(password: &str, encryption: Encryption) -> Handshake {
    Handshake::new(HandshakeOptions {
        user: "reader".into(),
        password: Password::new(password),
        encryption,
        ..HandshakeOptions::default()
    })
}

fn sent(action: Action) -> Vec<u8> {
    match action {
        Action::Send(payload) => payload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fast_authentication_sends_only_a_scramble() {
    let mut handshake = handshake("secret", Encryption::Disabled);
    let response = sent(handshake.step(&greeting(CACHING_SHA2, true)).unwrap());
    let scramble = scramble_sha256(b"12345678901234567890", b"secret").unwrap();
    assert!(response.windows(32).any(|window| window == scramble));
    assert!(response.ends_with(b"caching_sha2_password\0"));
    assert_eq!(handshake.step(&[1, 3]).unwrap(), Action::Read);
    assert_eq!(handshake.step(&[0, 0, 0, 2, 0, 0, 0]).unwrap(), Action::Done);
    assert_eq!(handshake.greeting().version_numbers(), (9, 7, 4));
}

#[test]
fn an_empty_password_is_an_empty_scramble() {
    let mut handshake = handshake("", Encryption::Disabled);
    let response = sent(handshake.step(&greeting(NATIVE, true)).unwrap());
    assert!(response.ends_with(b"reader\0\0mysql_native_password\0"));
}

#[test]
fn full_authentication_over_tls_sends_the_password_through_it() {
    let mut handshake = handshake("secret", Encryption::Preferred);
    let Action::Encrypt(request) = handshake.step(&greeting(CACHING_SHA2, true)).unwrap() else {
        panic!("no encryption")
    };
    assert_eq!(request.len(), 32);
    assert!(handshake.encrypted().starts_with(&request));
    assert_eq!(sent(handshake.step(&[1, 4]).unwrap()), b"secret\0");
}

#[test]
fn full_authentication_in_the_clear_uses_the_public_key() {
    let mut handshake = handshake("secret", Encryption::Preferred);
    sent(handshake.step(&greeting(CACHING_SHA2, false)).unwrap());
    assert_eq!(sent(handshake.step(&[1, 4]).unwrap()), [2]);
    let packet = [&[1], KEY.as_bytes()].concat();
    let encrypted = sent(handshake.step(&packet).unwrap());
    assert_eq!(encrypted.len(), 256);
}

#[test]
fn a_switch_answers_with_the_new_plugin_and_nonce() {
    let mut handshake = handshake("secret", Encryption::Disabled);
    sent(handshake.step(&greeting(CACHING_SHA2, false)).unwrap());
    let switch = b"\xfemysql_native_password\0abcdefghijabcdefghij\0";
    let scramble = scramble_native(b"abcdefghijabcdefghij", b"secret").unwrap();
    assert_eq!(sent(handshake.step(switch).unwrap()), scramble);
    let error = handshake.step(b"\xfeauthentication_ldap\0x\0").unwrap_err().to_string();
    assert!(error.contains("`authentication_ldap`"), "{error}");
}

#[test]
fn the_old_sha256_plugin_gets_the_password_encrypted() {
    let mut handshake = handshake("secret", Encryption::Disabled);
    sent(handshake.step(&greeting(CACHING_SHA2, false)).unwrap());
    let switch = b"\xfesha256_password\0abcdefghijabcdefghij\0";
    assert_eq!(sent(handshake.step(switch).unwrap()), [1]);
    let packet = [&[1], KEY.as_bytes()].concat();
    assert_eq!(sent(handshake.step(&packet).unwrap()).len(), 256);
    assert_eq!(handshake.step(&[0, 0, 0, 2, 0, 0, 0]).unwrap(), Action::Done);
}

#[test]
fn required_encryption_is_never_given_up() {
    let mut handshake = handshake("secret", Encryption::Required);
    let error = handshake.step(&greeting(CACHING_SHA2, false)).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)));
}

#[test]
fn a_refusal_is_the_servers_error() {
    let mut handshake = handshake("secret", Encryption::Disabled);
    sent(handshake.step(&greeting(CACHING_SHA2, false)).unwrap());
    let error = handshake.step(b"\xff\x15\x04#28000Access denied for user").unwrap_err();
    assert!(matches!(error, Error::Server(error) if error.code == 1045));
}

#[test]
fn passwords_do_not_print() {
    let handshake = handshake("secret", Encryption::Disabled);
    let printed = format!("{handshake:?} {:?}", Action::Send(b"secret".to_vec()));
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn a_password_too_long_for_the_key_is_refused() {
    let mut handshake = handshake(&"x".repeat(300), Encryption::Disabled);
    sent(handshake.step(&greeting(CACHING_SHA2, false)).unwrap());
    sent(handshake.step(&[1, 4]).unwrap());
    let packet = [&[1], KEY.as_bytes()].concat();
    assert!(matches!(handshake.step(&packet), Err(Error::Unsupported(_))));
}

proptest! {
    #[test]
    fn any_packets_end_in_an_action_or_an_error(packets: Vec<Vec<u8>>, greeted: bool) {
        let mut handshake = handshake("secret", Encryption::Disabled);
        if greeted {
            handshake.step(&greeting(CACHING_SHA2, false)).unwrap();
        }
        for packet in packets {
            drop(handshake.step(&packet));
        }
    }

    #[test]
    fn a_damaged_public_key_never_panics(at in 0..KEY.len(), byte: u8, cut in 0..KEY.len()) {
        let mut key = KEY.as_bytes().to_vec();
        key[at] = byte;
        drop(public_key::encrypt(b"secret\0", &key));
        key.truncate(cut);
        drop(public_key::encrypt(b"secret\0", &key));
    }
}
