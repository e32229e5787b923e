//! Sets of transactions, beside plain sets of numbers and `mysql_common`.

use std::collections::BTreeSet;

use mysql_common::packets::Sid;
use mysql_common::proto::MySerialize;
use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

#[test]
fn sets_print_in_mysqls_canonical_form() {
    for (text, printed) in [
        (String::new(), String::new()),
        (format!("{}:1-5", A.to_uppercase()), format!("{A}:1-5")),
        (format!("{A}:7:1-3:4:5-5,\n {B}:9"), format!("{A}:1-5:7,{B}:9")),
        (format!("{A}:1-3:tag_1:5-6:b:1"), format!("{A}:1-3:b:1:tag_1:5-6")),
        (format!("{A}:tag:1,{A}:2"), format!("{A}:2:tag:1")),
    ] {
        assert_eq!(set(&text).to_string(), printed);
    }
}

#[test]
fn what_is_no_set_is_refused() {
    for text in
        ["x", "3e11fa47:1", &format!("{A}:0"), &format!("{A}:5-2"), &format!("{A}:Ünicode:1")]
    {
        assert!(text.parse::<GtidSet>().is_err(), "{text}");
    }
}

#[test]
fn tags_are_sources_of_their_own() {
    let tagged: Gtid = format!("{A}:x:3").parse().unwrap();
    let plain: Gtid = format!("{A}:3").parse().unwrap();
    let executed = set(&format!("{A}:1-2:x:1-5"));
    assert!(executed.contains(&tagged));
    assert!(!executed.contains(&plain));
}

#[test]
fn binary_form_equals_the_one_of_mysql_common() {
    let text = format!("{A}:1-3:7");
    let sid: Sid<'_> = text.parse().unwrap();
    let mut expected = 1_u64.to_le_bytes().to_vec();
    sid.serialize(&mut expected);
    assert_eq!(set(&text).encode(), expected);
}

#[test]
fn binary_form_survives_with_and_without_tags() {
    for text in [format!("{A}:1-3:7,{B}:2"), format!("{A}:1-3:tag:9,{B}:x:2-8"), String::new()] {
        assert_eq!(GtidSet::decode(&set(&text).encode()).unwrap(), set(&text));
    }
}

#[test]
fn a_position_of_mariadb_holds_what_came_before_it() {
    let position = set("1-7-9, 0-1-100");
    assert_eq!(position.to_string(), "0-1-100,1-7-9");
    let gtid = |text: &str| text.parse::<Gtid>().unwrap();
    for (text, expected) in [
        ("0-1-100", true),
        ("0-2-7", true),
        ("0-1-101", false),
        ("1-7-10", false),
        ("2-1-1", false),
    ] {
        assert_eq!(gtid(text).to_string(), text);
        assert_eq!(position.contains(&gtid(text)), expected, "{text}");
    }
    let mut later = position.clone();
    later.add(&gtid("0-2-101"));
    assert_eq!(later.to_string(), "0-2-101,1-7-9");
    assert!(later.contains_set(&position) && !position.contains_set(&later));
    let mut union = position.clone();
    union.union(&later);
    assert_eq!(union, later);
    union.subtract(&position);
    assert_eq!(union.to_string(), "0-2-101");
    format!("{A}:1,0-1-1").parse::<GtidSet>().unwrap_err();
    assert!(gtid("0-1-1").source.with_tag(b"t").is_err());
}

#[test]
fn a_list_of_mariadb_names_the_last_transaction_of_each_domain() {
    let mut list = (3_u32 | 1 << 28).to_le_bytes().to_vec();
    for (domain, server, number) in [(0_u32, 2_u32, 5_u64), (0, 1, 9), (4, 1, 1)] {
        list.extend(domain.to_le_bytes());
        list.extend(server.to_le_bytes());
        list.extend(number.to_le_bytes());
    }
    assert_eq!(GtidSet::decode_list(&list).unwrap().to_string(), "0-1-9,4-1-1");
    list.truncate(30);
    GtidSet::decode_list(&list).unwrap_err();
}

fn numbers(set: &GtidSet) -> BTreeSet<u64> {
    set.iter().flat_map(|(_, list)| list.iter().flat_map(|i| i.first..=i.last)).collect()
}

proptest! {
    #[test]
    fn sets_behave_like_sets_of_numbers(
        left in prop::collection::vec((1_u64..60, 0_u64..6), 0..20),
        right in prop::collection::vec((1_u64..60, 0_u64..6), 0..20),
    ) {
        let source = GtidSource::new([7; 16]);
        let build = |list: &[(u64, u64)]| {
            let mut set = GtidSet::new();
            for (first, len) in list {
                set.add_interval(source, GtidInterval { first: *first, last: first + len });
            }
            set
        };
        let (a, b) = (build(&left), build(&right));
        let (x, y) = (numbers(&a), numbers(&b));
        let expected: BTreeSet<u64> = left.iter().flat_map(|(first, len)| *first..=first + len).collect();
        prop_assert_eq!(&x, &expected);
        for number in 1..70 {
            prop_assert_eq!(a.contains(&Gtid { source, number }), x.contains(&number));
        }
        prop_assert_eq!(a.contains_set(&b), y.is_subset(&x));
        let mut union = a.clone();
        union.union(&b);
        prop_assert_eq!(numbers(&union), x.union(&y).copied().collect());
        let mut difference = a;
        difference.subtract(&b);
        prop_assert_eq!(numbers(&difference), x.difference(&y).copied().collect());
        prop_assert_eq!(&union.to_string().parse::<GtidSet>().unwrap(), &union);
        let apart = |list: &[GtidInterval]| list.windows(2).all(|w| w[0].last + 1 < w[1].first);
        prop_assert!(union.iter().all(|(_, list)| !list.is_empty() && apart(list)));
    }

    #[test]
    fn any_bytes_are_a_set_or_an_error(bytes: Vec<u8>) {
        drop(GtidSet::decode(&bytes));
        drop(GtidSet::decode_list(&bytes));
    }
}
