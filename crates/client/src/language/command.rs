//! The commands there are: one table for reading, completing and `/help`.

/// Which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described in COMMANDS, where users read it")]
pub enum Verb {
    Help,
    Who,
    Refresh,
    Connect,
    Accept,
    Decline,
    Requests,
    Switch,
    Back,
    Close,
    Quit,
    SendFile,
    Files,
    Save,
    Cancel,
    Message,
    History,
    Search,
    Waiting,
    Retry,
    Block,
    Unblock,
    Verify,
    Trust,
    Status,
    Visibility,
    Policy,
    Info,
    Id,
    Timestamps,
    ReadReceipts,
    Typing,
    Clear,
}

/// What its arguments are, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None, or words that cannot be guessed.
    Nothing,
    /// People's names.
    Names,
    /// Paths.
    Paths,
    /// `on` or `off`.
    Switch,
    /// A status.
    Status,
    /// A visibility.
    Visibility,
    /// A policy.
    Policy,
    /// Commands.
    Commands,
}

/// One command as users see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub verb: Verb,
    /// Without the slash.
    pub name: &'static str,
    /// With its arguments.
    pub usage: &'static str,
    /// What it does.
    pub about: &'static str,
    /// One line that works.
    pub example: &'static str,
    /// For completion.
    pub takes: Takes,
}

macro_rules! commands {
    ($($verb:ident $takes:ident $name:literal $usage:literal $about:literal $example:literal;)*) => {
        /// Every command, in the order of `/help`.
        pub const COMMANDS: &[Entry] = &[$(Entry {
            verb: Verb::$verb,
            name: $name,
            usage: $usage,
            about: $about,
            example: $example,
            takes: Takes::$takes,
        }),*];
    };
}

commands! {
    Help Commands "help" "/help [COMMAND]" "what can be typed" "/help sendf";
    Who Nothing "who" "/who" "who is there" "/who";
    Refresh Nothing "refresh" "/refresh" "ask again who is there" "/refresh";
    Connect Names "connect" "/connect NAME|ID|INVITE" "ask somebody for a chat" "/connect alice";
    Accept Names "accept" "/accept [NAME|N] [--once]"
        "accept a chat by name or a file by number; the only open one without; --once makes no contact"
        "/accept bob";
    Decline Names "decline" "/decline [NAME|N] [REASON]" "decline a chat by name or a file by number"
        "/decline bob in a meeting";
    Requests Nothing "requests" "/requests" "open requests and offered files" "/requests";
    Switch Names "switch" "/switch NAME|N" "talk to another of those who are connected" "/switch alice";
    Back Nothing "back" "/back" "leave this conversation and stay connected" "/back";
    Close Names "close" "/close [NAME]" "end the session" "/close alice";
    Quit Nothing "quit" "/quit" "end every session and leave" "/quit";
    SendFile Paths "sendf" "/sendf PATH..." "send files to whom you talk to" "/sendf \"song of the sea.mp3\"";
    Files Nothing "files" "/files" "the files that were offered, in both directions" "/files";
    Save Paths "save" "/save N [DIR]" "take an offered file, into DIR if given" "/save 1 ~/music";
    Cancel Names "cancel" "/cancel [N|NAME]" "stop a transfer by number, or take back a request by name"
        "/cancel 1";
    Message Names "msg" "/msg NAME[,NAME...] TEXT" "one message to one or more people"
        "/msg alice,carol see you at noon";
    History Nothing "history" "/history [N]" "the last messages of this conversation, 20 without N" "/history 50";
    Search Nothing "search" "/search WORD..." "messages of this conversation that contain all words"
        "/search dinner eight";
    Waiting Nothing "waiting" "/waiting" "for whom messages of mine wait, and since when" "/waiting";
    Retry Names "retry" "/retry [NAME]" "try now to deliver what waits, not when the next try is due" "/retry alice";
    Block Names "block" "/block NAME|ID" "take nothing more from somebody and send them nothing" "/block mallory";
    Unblock Names "unblock" "/unblock NAME|ID" "take a block back" "/unblock mallory";
    Verify Names "verify" "/verify [NAME] [yes]"
        "the number to compare with somebody; yes keeps that it was the same" "/verify alice yes";
    Trust Names "trust" "/trust NAME yes" "take the key that came under a known name in the place of the known one"
        "/trust alice yes";
    Status Status "status" "/status [online|away|busy|invisible]"
        "what others see of you; invisible: nobody is answered" "/status away";
    Visibility Visibility "visibility" "/visibility [public|contacts|private]" "who sees that you are there"
        "/visibility contacts";
    Policy Policy "policy" "/policy [everyone|contacts|nobody]" "who may ask you for a chat" "/policy contacts";
    Info Nothing "info" "/info" "path, endpoints, RTT, loss, key age and trust of each session" "/info";
    Id Nothing "id" "/id" "who you are" "/id";
    Timestamps Switch "timestamps" "/timestamps on|off" "show when messages came" "/timestamps on";
    ReadReceipts Switch "read-receipts" "/read-receipts on|off" "tell others that you read their messages"
        "/read-receipts off";
    Typing Names "typing" "/typing [NAME]" "let somebody see that you are typing, for a few seconds" "/typing alice";
    Clear Nothing "clear" "/clear" "clear the screen" "/clear";
}
