//! Mails about failed deliveries: Delivery Status Notifications (RFC 3464).
//!
//! Only the fields for machines count. What such a mail says in words, and who is in its `To`, says nothing.
//! A mail that is no report, such as an out-of-office answer, is no bounce.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use sha2::{Digest as _, Sha256};

use super::{Enhanced, Feedback, MAX_BYTES, message_id};
use crate::email::{Mailbox, MessageId};

/// Most recipients of one report that are read. A letter of ours has one.
const MAX_RECIPIENTS: usize = 20;

/// The failed deliveries that a mail reports; none if it is no report of that kind.
///
/// Nothing in such a mail is proof: anybody can write one. The caller takes it only where it came to the
/// signed return path of a letter to this very address.
pub fn read_dsn(mail: &[u8]) -> Vec<Feedback> {
    if mail.len() > MAX_BYTES {
        return Vec::new();
    }
    let Some(parsed) = MessageParser::default().parse(mail) else { return Vec::new() };
    if !is_delivery_report(&parsed) {
        return Vec::new();
    }
    let Some(status) = parsed.parts.iter().find(|part| is_of(part, "message", "delivery-status")) else {
        return Vec::new();
    };
    let provider_event_id = match parsed.message_id() {
        Some(id) => format!("dsn:{id}"),
        None => format!("dsn:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(mail))),
    };
    let message_id = original_id(&parsed);
    let text = String::from_utf8_lossy(status.contents()).replace("\r\n", "\n");
    // The first group is about the message, and each further one about a recipient.
    let groups = text.split("\n\n").filter(|group| !group.trim().is_empty()).skip(1).take(MAX_RECIPIENTS);
    let reports = groups.filter_map(|group| {
        let mut feedback = read_recipient(group)?;
        feedback.message_id.clone_from(&message_id);
        feedback.provider_event_id.clone_from(&provider_event_id);
        Some(feedback)
    });
    reports.collect()
}

fn is_delivery_report(mail: &Message<'_>) -> bool {
    mail.content_type().is_some_and(|kind| {
        let report = kind.attribute("report-type").unwrap_or_default();
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
            && report.eq_ignore_ascii_case("delivery-status")
    })
}

fn is_of(part: &MessagePart<'_>, kind: &str, subtype: &str) -> bool {
    part.content_type().is_some_and(|own| {
        own.ctype().eq_ignore_ascii_case(kind)
            && own.subtype().is_some_and(|own| own.eq_ignore_ascii_case(subtype))
    })
}

/// The id of the message that was not delivered, from the copy of it or of its headers.
fn original_id(report: &Message<'_>) -> Option<MessageId> {
    report.parts.iter().skip(1).find_map(|part| match &part.body {
        PartType::Message(original) => message_id(original.message_id()?),
        _ if is_of(part, "text", "rfc822-headers") => {
            let original = MessageParser::default().parse_headers(part.contents())?;
            message_id(original.message_id()?)
        }
        _ => None,
    })
}

/// What the fields about one recipient say, if it is a failure of the address.
fn read_recipient(group: &str) -> Option<Feedback> {
    let group = format!("{}\n\n", group.trim_start());
    let fields = MessageParser::new().default_header_raw().parse_headers(group.as_bytes())?;
    let field = |name: &'static str| fields.header_raw(name).map(str::trim);
    // Servers also report what is delivered, passed on, or late and still tried.
    if !field("Action")?.eq_ignore_ascii_case("failed") {
        return None;
    }
    let (kind, address) = field("Final-Recipient")?.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("rfc822") {
        return None;
    }
    let address = address.trim().parse::<Mailbox>().ok()?.address;
    let status = Enhanced::find(field("Status")?)?;
    // Some servers have one status for all failures, and the other server's words next to it.
    let told = || field("Diagnostic-Code").filter(|_| status.is_vague()).and_then(Enhanced::find);
    let code = told().unwrap_or(status);
    Some(Feedback {
        address,
        kind: code.meaning()?,
        enhanced: Some(code.to_string()),
        message_id: None,
        provider_event_id: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::FeedbackKind;
    use super::*;

    const POSTFIX: &str = include_str!("samples/postfix.eml");
    const EXIM: &str = include_str!("samples/exim.eml");
    const GMAIL: &str = include_str!("samples/gmail.eml");

    /// Address, kind, code and message of all that a mail reports, whatever its line ends.
    fn read(mail: &str) -> Vec<(String, FeedbackKind, String, Option<String>)> {
        let feedback = read_dsn(mail.as_bytes());
        assert_eq!(
            feedback.iter().map(|one| (&one.address, one.kind)).collect::<Vec<_>>(),
            read_dsn(mail.replace('\n', "\r\n").as_bytes())
                .iter()
                .map(|one| (&one.address, one.kind))
                .collect::<Vec<_>>(),
        );
        let told = feedback.into_iter().map(|one| {
            let message = one.message_id.map(|id| id.as_str().to_owned());
            (one.address.to_string(), one.kind, one.enhanced.unwrap(), message)
        });
        told.collect()
    }

    fn one(
        address: &str,
        kind: FeedbackKind,
        code: &str,
    ) -> Vec<(String, FeedbackKind, String, Option<String>)> {
        let message = Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned());
        vec![(address.to_owned(), kind, code.to_owned(), message)]
    }

    #[test]
    fn t32_only_the_final_recipient_bounces() {
        // The To of the report and of the letter are others.
        let hard = one("ana@mail.example.net", FeedbackKind::HardBounce, "5.1.1");
        assert_eq!(read(POSTFIX), hard);
    }

    #[test]
    fn a_vague_status_is_explained_by_the_other_servers_words() {
        assert_eq!(read(EXIM), one("ana@example.net", FeedbackKind::HardBounce, "5.1.1"));
        let silent = EXIM.replace("Diagnostic-Code", "X-Nothing");
        assert_eq!(read(&silent), one("ana@example.net", FeedbackKind::SoftBounce, "5.0.0"));
        // A status that says something stands.
        let full = EXIM.replace("Status: 5.0.0", "Status: 5.2.2");
        assert_eq!(read(&full), one("ana@example.net", FeedbackKind::SoftBounce, "5.2.2"));
    }

    #[test]
    fn a_report_with_the_whole_letter_in_it_names_the_letter() {
        assert_eq!(read(GMAIL), one("ana@example.net", FeedbackKind::SoftBounce, "5.2.2"));
        assert_eq!(read_dsn(GMAIL.as_bytes())[0].provider_event_id, "dsn:6a4d1e.abc@mx.google.com");
        let unnamed = GMAIL.replacen("Message-ID: <6a4d1e.abc@mx.google.com>\n", "", 1);
        let unnamed = &read_dsn(unnamed.as_bytes())[0].provider_event_id;
        assert!(unnamed.starts_with("dsn:") && unnamed.len() == 47, "{unnamed}");
    }

    #[test]
    fn several_recipients_are_each_told_of_and_not_without_end() {
        let group = "Final-Recipient: RFC822; <bob@example.net>\nAction: failed\nStatus: 5.1.1\n\n";
        let begin = POSTFIX.find("Final-Recipient").unwrap();
        let many = format!("{}{}{}", &POSTFIX[..begin], group.repeat(99), &POSTFIX[begin..]);
        assert_eq!(read(&many).len(), MAX_RECIPIENTS);
    }

    #[test]
    fn t33_what_is_no_failure_of_the_address_is_no_bounce() {
        assert_eq!(read(include_str!("samples/out_of_office.eml")), []);
        for (from, to) in [
            ("Action: failed", "Action: delayed"),
            ("Action: failed", "Action: delivered"),
            ("Action: failed\n", ""),
            ("Status: 5.1.1", "Status: 5.7.1"),
            ("Status: 5.1.1", "Status: 2.0.0"),
            ("Status: 5.1.1\n", ""),
            ("report-type=delivery-status", "report-type=disposition-notification"),
            ("multipart/report", "multipart/mixed"),
            ("Final-Recipient: rfc822", "Original-Recipient: rfc822"),
            ("Final-Recipient: rfc822;", "Final-Recipient: x400;"),
            ("Final-Recipient: rfc822; ana@mail.example.net", "Final-Recipient: rfc822; ana"),
        ] {
            let other = POSTFIX.replace(from, to);
            assert_ne!(other, POSTFIX);
            assert_eq!(read(&other), [], "{to}");
        }
        assert_eq!(read(""), []);
        let huge = format!("{POSTFIX}{}", "x".repeat(MAX_BYTES));
        assert_eq!(read_dsn(huge.as_bytes()), []);
    }

    proptest! {
        #[test]
        fn no_mail_brings_the_reader_down(
            at in 0..POSTFIX.len(),
            length in 0..200_usize,
            put in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut mail = POSTFIX.as_bytes().to_vec();
            mail.splice(at..(at + length).min(POSTFIX.len()), put);
            prop_assert!(read_dsn(&mail).len() <= MAX_RECIPIENTS);
        }
    }
}
