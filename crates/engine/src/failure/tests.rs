use super::*;

#[test]
fn no_code_stands_twice_in_the_table_and_exits_are_those_of_the_contract() {
    let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        assert!(matches!(code.exit, 1..=8 | 130 | 143), "{}", code.name);
    }
}

#[test]
fn a_failure_says_what_happened_and_what_to_do_in_one_line() {
    let failure = Failure::UnknownCommand { typed: "acept".into(), nearest: Some("accept") };
    assert_eq!(failure.message(), "no command /acept");
    assert_eq!(failure.hint().as_deref(), Some("did you mean /accept? /help lists the commands"));
    assert_eq!((failure.code(), failure.exit()), ("unknown_command", 2));
}

#[test]
fn an_empty_reason_leaves_no_colon_behind() {
    let declined = Failure::Declined { who: "bob".into(), reason: String::new() };
    assert_eq!(declined.message(), "bob declined");
}
