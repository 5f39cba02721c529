use super::*;
use proptest::prelude::*;

fn slash(line: &str) -> Slash {
    match parse(line, Some(Path::new("/home/ann"))) {
        Ok(Input::Slash(slash)) => slash,
        other => panic!("{line}: {other:?}"),
    }
}

fn failure(line: &str) -> Failure {
    parse(line, None).unwrap_err()
}

#[test]
fn what_does_not_begin_with_a_slash_is_text() {
    assert_eq!(parse("hello /there", None), Ok(Input::Text("hello /there".into())));
    assert_eq!(parse(" /help", None), Ok(Input::Text(" /help".into())));
}

#[test]
fn two_slashes_send_one() {
    assert_eq!(parse("//etc/hosts", None), Ok(Input::Text("/etc/hosts".into())));
}

#[test]
fn blank_lines_say_nothing() {
    assert_eq!(parse("", None), Ok(Input::Empty));
    assert_eq!(parse(" \t ", None), Ok(Input::Empty));
}

#[test]
fn commands_may_be_shortened_while_they_stay_unique() {
    assert_eq!(slash("/q"), Slash::Quit);
    assert_eq!(slash("/wh"), Slash::Who);
    assert_eq!(slash("/HELP"), Slash::Help(None));
    let Failure::Usage(text) = failure("/c") else { panic!() };
    assert_eq!(text, "/c is short for several commands: /connect, /close, /cancel, /clear");
}

#[test]
fn an_unknown_command_names_the_nearest_and_is_never_text() {
    assert_eq!(
        failure("/conect alice"),
        Failure::UnknownCommand { typed: "conect".into(), nearest: Some("connect") }
    );
    assert_eq!(failure("/xyzzy"), Failure::UnknownCommand { typed: "xyzzy".into(), nearest: None });
    assert!(matches!(failure("/"), Failure::Usage(_)));
}

#[test]
fn every_command_has_an_example_that_works() {
    for entry in COMMANDS {
        assert!(parse(entry.example, None).is_ok(), "{}", entry.example);
        assert!(entry.usage.starts_with(&format!("/{}", entry.name)), "{}", entry.usage);
    }
}

#[test]
fn arguments_are_quoted_as_in_a_shell() {
    assert_eq!(
        slash(r#"/sendf "song of the sea.mp3" it\'s 'a "b"' plain"#),
        Slash::SendFiles(vec![
            "song of the sea.mp3".into(),
            "it's".into(),
            r#"a "b""#.into(),
            "plain".into()
        ])
    );
    assert_eq!(slash(r#"/sendf "a\"b\\c\d""#), Slash::SendFiles(vec![r#"a"b\c\d"#.into()]));
    assert_eq!(slash(r#"/sendf "\$5 \`x\`""#), Slash::SendFiles(vec!["$5 `x`".into()]));
    assert!(matches!(failure("/sendf \"open"), Failure::Usage(_)));
    assert!(matches!(failure("/sendf a\\"), Failure::Usage(_)));
}

#[test]
fn a_tilde_is_the_home_unless_it_is_quoted() {
    assert_eq!(
        slash("/sendf ~/a ~ '~/b' x~ ~bob/c"),
        Slash::SendFiles(vec![
            "/home/ann/a".into(),
            "/home/ann".into(),
            "~/b".into(),
            "x~".into(),
            "~bob/c".into()
        ])
    );
}

#[test]
fn what_a_person_says_is_taken_as_typed() {
    assert_eq!(
        slash("/msg alice,bob it's \"late\"  now "),
        Slash::Message { to: vec!["alice".into(), "bob".into()], text: "it's \"late\"  now ".into() }
    );
    assert_eq!(
        slash("/decline bob can't now"),
        Slash::Decline { first: Some("bob".into()), rest: "can't now".into(), whole: "bob can't now".into() }
    );
    assert!(matches!(failure("/msg alice"), Failure::Usage(_)));
    assert!(matches!(failure("/msg alice,,bob hi"), Failure::Usage(_)));
}

#[test]
fn accept_takes_its_flag_on_either_side() {
    let expected = Slash::Accept { what: Some("bob".into()), once: true };
    assert_eq!(slash("/accept bob --once"), expected);
    assert_eq!(slash("/accept --once bob"), expected);
    assert!(matches!(failure("/accept bob --twice"), Failure::Usage(_)));
}

#[test]
fn arguments_too_many_or_too_few_show_the_usage() {
    assert_eq!(failure("/save"), Failure::Usage("usage: /save N [DIR]".into()));
    assert_eq!(failure("/save one"), Failure::Usage("usage: /save N [DIR]".into()));
    assert_eq!(failure("/quit now"), Failure::Usage("usage: /quit".into()));
    assert_eq!(failure("/timestamps maybe"), Failure::Usage("usage: /timestamps on|off".into()));
    assert_eq!(
        slash("/save 2 ~/in"),
        Slash::Save { transfer: TransferNumber(2), dir: Some("/home/ann/in".into()) }
    );
}

#[test]
fn a_text_over_the_limit_is_refused_whole() {
    assert!(parse(&"a".repeat(TEXT_MAX), None).is_ok());
    let failure = failure(&"a".repeat(TEXT_MAX + 1));
    assert_eq!(failure, Failure::TooLong { len: TEXT_MAX + 1, max: TEXT_MAX });
    assert!(matches!(
        self::failure(&format!("/msg bob {}", "a".repeat(TEXT_MAX + 1))),
        Failure::TooLong { .. }
    ));
}

#[test]
fn a_nul_is_refused() {
    assert!(matches!(failure("a\0b"), Failure::Usage(_)));
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line in "(/[a-z]{0,8} ?)?\\PC{0,40}") {
        let _ = parse(&line, Some(Path::new("/h")));
    }

    #[test]
    fn a_quoted_path_comes_back_as_it_was(path in "[^'\\x00-\\x1f]{1,30}") {
        prop_assume!(!path.trim().is_empty());
        let parsed = slash(&format!("/sendf '{path}'"));
        prop_assert_eq!(parsed, Slash::SendFiles(vec![path.into()]));
    }
}

#[test]
fn a_new_key_is_taken_only_with_the_word_that_confirms_it() {
    assert_eq!(slash("/trust alice yes"), Slash::Trust("alice".parse().unwrap()));
    let Failure::Usage(what) = failure("/trust alice") else { panic!("taken") };
    assert!(what.ends_with("/trust alice yes"), "{what}");
    assert_eq!(failure("/trust alice y"), Failure::Usage("usage: /trust NAME yes".into()));
    let verify = |who: Option<&str>, yes| Slash::Verify { who: who.map(Into::into), yes };
    assert_eq!(slash("/verify"), verify(None, false));
    assert_eq!(slash("/verify yes"), verify(None, true));
    assert_eq!(slash("/verify alice"), verify(Some("alice"), false));
    assert_eq!(slash("/verify alice yes"), verify(Some("alice"), true));
    assert_eq!(failure("/verify alice no"), Failure::Usage("usage: /verify [NAME] [yes]".into()));
}

#[test]
fn how_one_stands_is_said_in_the_words_there_are() {
    use p2pchat_proto::{Availability, ContactPolicy, StandingChange};
    let nothing = StandingChange::default();
    let away = StandingChange { status: Some(Availability::Away), ..nothing };
    assert_eq!(slash("/status away"), Slash::Stand(away));
    assert_eq!(slash("/status"), Slash::Stand(nothing));
    let nobody = StandingChange { policy: Some(ContactPolicy::Nobody), ..nothing };
    assert_eq!(slash("/policy nobody"), Slash::Stand(nobody));
    for wrong in ["/status asleep", "/visibility everyone", "/policy public", "/status away busy"] {
        assert!(matches!(failure(wrong), Failure::Usage(_)), "{wrong}");
    }
}
