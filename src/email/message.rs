//! One e-mail for one person, as the bytes that are sent.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, ContentTypeErr, HeaderName, HeaderValue};
use lettre::message::{Attachment, MultiPart, SinglePart};

use super::address::{ascii_domain, refuse_controls};
use super::{Address, AddressError, Mailbox, Rendered};
use crate::icalendar::Method;

/// Longest id of a job, in bytes: it becomes the name of a file, a part of two headers, and a part of a
/// return path.
const MAX_ID_BYTES: usize = 60;

/// Why a message cannot be made. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The job's id has characters that a header or a file's name cannot have, or too many.
    #[error("the id of a message has 1 to {MAX_ID_BYTES} letters, digits, - and _")]
    Id,
    /// The subject could begin a header of its own.
    #[error("the subject {0}")]
    Subject(AddressError),
    /// The domain of the Message-ID is none.
    #[error("the domain of the message's id {0}")]
    Domain(AddressError),
    /// The time is before 1970, which the header cannot say.
    #[error("the date of the message is before 1970")]
    Date,
    /// The mail library refuses it.
    #[error("the message cannot be built")]
    Build(#[source] lettre::error::Error),
    /// The mail library knows no such part.
    #[error("the message's calendar cannot be named")]
    Kind(#[source] ContentTypeErr),
}

/// What a letter tells, as a calendar program reads it (iMIP, RFC 6047).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// What it wants of the program. The calendar says the same.
    pub method: Method,
    /// The calendar.
    pub calendar: String,
}

impl Invitation {
    /// The parts of a message: one beside the texts, by which Gmail, Outlook and Apple Mail know an invitation, and a file for
    /// programs that know none. The file is no second invitation: it is of another type.
    fn parts(&self) -> Result<[SinglePart; 2], ContentTypeErr> {
        let kind = format!("text/calendar; charset=utf-8; method={}", self.method.name());
        let beside = SinglePart::builder().header(ContentType::parse(&kind)?).body(self.calendar.clone());
        let kind = ContentType::parse("application/ics; name=\"invite.ics\"")?;
        let file = Attachment::new("invite.ics".to_owned()).body(self.calendar.clone().into_bytes(), kind);
        Ok([beside, file])
    }
}

/// The id of a message, made of the id of the job that sends it. All attempts of a job have the same, so that
/// a mailbox can drop the second copy of an uncertain attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// The id for a job, such as a UUID.
    pub fn of_job(job: &str) -> Result<Self, ComposeError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !(1..=MAX_ID_BYTES).contains(&job.len()) || !job.chars().all(plain) {
            return Err(ComposeError::Id);
        }
        Ok(Self(job.to_owned()))
    }

    /// The job's id: ASCII letters, digits, `-` and `_`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail from the site to one person, ready to be sent. The same input makes the same bytes.
#[derive(Clone, Debug)]
pub struct Message {
    id: MessageId,
    date: Timestamp,
    envelope: Envelope,
    bytes: Vec<u8>,
}

impl Message {
    /// Makes an e-mail of a rendered letter. `domain` is the right side of the Message-ID, the sender's
    /// domain most often; `date` is when the job was made, so that all attempts say the same.
    pub fn compose(
        from: &Mailbox,
        to: &Mailbox,
        rendered: &Rendered,
        id: MessageId,
        domain: &str,
        date: Timestamp,
    ) -> Result<Self, ComposeError> {
        Self::compose_with(from, to, rendered, None, id, domain, date)
    }

    /// The same with what calendar programs read, if there is something for them.
    pub fn compose_with(
        from: &Mailbox,
        to: &Mailbox,
        rendered: &Rendered,
        invitation: Option<&Invitation>,
        id: MessageId,
        domain: &str,
        date: Timestamp,
    ) -> Result<Self, ComposeError> {
        refuse_controls(&rendered.subject).map_err(ComposeError::Subject)?;
        refuse_controls(domain).map_err(ComposeError::Domain)?;
        let domain = ascii_domain(domain).map_err(ComposeError::Domain)?;
        let seconds = u64::try_from(date.as_second()).map_err(|_| ComposeError::Date)?;
        let header_date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // Mail programs show the last part that they understand, so the plain text comes first.
        let texts = MultiPart::alternative()
            .boundary(format!("=_{}", id.0))
            .singlepart(SinglePart::plain(rendered.text.clone()))
            .singlepart(SinglePart::html(rendered.html.clone()));
        let body = match invitation {
            None => texts,
            Some(invitation) => {
                let [beside, file] = invitation.parts().map_err(ComposeError::Kind)?;
                // No boundary may begin with another one.
                let whole = MultiPart::mixed().boundary(format!("=+{}", id.0));
                whole.multipart(texts.singlepart(beside)).singlepart(file)
            }
        };
        let mut headers = lettre::Message::builder()
            .from(from.to_inner())
            .to(to.to_inner())
            .subject(&rendered.subject)
            .message_id(Some(format!("<{}@{domain}>", id.0)))
            .date(header_date)
            // Keeps out-of-office programs from answering (RFC 3834, 5).
            .raw_header(plain_header("Auto-Submitted", "auto-generated".to_owned()));
        if let Some(link) = &rendered.unsubscribe {
            let list = link.list().name();
            headers = headers
                .raw_header(plain_header("List-Id", format!("MundoTango {list} <{list}.{domain}>")))
                .raw_header(plain_header("List-Unsubscribe", format!("<{}>", link.url())));
            if link.is_one_click() {
                let post = "List-Unsubscribe=One-Click".to_owned();
                headers = headers.raw_header(plain_header("List-Unsubscribe-Post", post));
            }
        }
        let message = headers.multipart(body).map_err(ComposeError::Build)?;
        Ok(Self { id, date, envelope: message.envelope().clone(), bytes: message.formatted() })
    }

    /// The same message, with reports about it sent elsewhere than to its sender. Headers stay as they are.
    pub fn with_return_path(self, address: &Address) -> Result<Self, ComposeError> {
        let to = self.envelope.to().to_vec();
        let envelope = Envelope::new(Some(address.inner().clone()), to);
        Ok(Self { envelope: envelope.map_err(ComposeError::Build)?, ..self })
    }

    /// The id that all attempts share.
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// What the header `Date` says.
    pub fn date(&self) -> Timestamp {
        self.date
    }

    /// The whole message with CRLF at line ends, in ASCII: no server has to know 8BITMIME.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whom the server is told as the sender, and the one recipient.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether a message goes to an address.
    pub fn is_to(&self, address: &Address) -> bool {
        self.envelope.to() == [address.inner().clone()]
    }
}

/// A header of which nothing needs encoding, in one line: its value is printable ASCII of our own making.
fn plain_header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders as _};

    use super::super::unsubscribe::{UnsubscribeKey, UnsubscribeLinks};
    use super::super::{Language, Letter, MailingList, Renderer};
    use super::*;

    fn rendered(subject: &str) -> Rendered {
        Rendered {
            subject: subject.to_owned(),
            html: "<p>¡Hola &amp; adiós!</p>".to_owned(),
            text: "¡Hola!\n.\n..\n".to_owned(),
            unsubscribe: None,
        }
    }

    fn links(site: &str) -> UnsubscribeLinks {
        UnsubscribeLinks::new(site, UnsubscribeKey::new(b"a secret")).unwrap()
    }

    fn compose(name: &str, subject: &str) -> Result<Message, ComposeError> {
        let to =
            Mailbox { name: Some(name.parse().unwrap()), address: "ana@milonga.españa".parse().unwrap() };
        Message::compose(
            &"MundoTango <no-reply@example.com>".parse().unwrap(),
            &to,
            &rendered(subject),
            MessageId::of_job("01890a5d-ac96-774b-bcce-b302099a8057").unwrap(),
            "example.com",
            "2026-07-04T22:00:00Z".parse().unwrap(),
        )
    }

    /// The lines of a header, unfolded by nobody.
    fn header(message: &Message, name: &str) -> String {
        let text = String::from_utf8(message.bytes().to_vec()).unwrap();
        let headers = text.split("\r\n\r\n").next().unwrap();
        let start = headers.find(&format!("{name}: ")).unwrap();
        let lines = headers[start..].split("\r\n");
        let own: Vec<_> =
            lines.enumerate().take_while(|(at, line)| *at == 0 || line.starts_with(' ')).collect();
        own.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\r\n")
    }

    #[test]
    fn a_parser_reads_back_what_was_put_in() {
        let message = compose("Ana (la \"ñata\"), Co", "¡Hola, Ana!").unwrap();
        let parsed = MessageParser::default().parse(message.bytes()).unwrap();
        assert_eq!(parsed.subject(), Some("¡Hola, Ana!"));
        assert_eq!(parsed.message_id(), Some("01890a5d-ac96-774b-bcce-b302099a8057@example.com"));
        assert_eq!(parsed.date().unwrap().to_rfc3339(), "2026-07-04T22:00:00Z");
        let to = parsed.to().unwrap().as_list().unwrap();
        assert_eq!(to.len(), 1);
        assert_eq!(to[0].name(), Some("Ana (la \"ñata\"), Co"));
        assert_eq!(to[0].address(), Some("ana@milonga.xn--espaa-rta"));
        assert_eq!(parsed.from().unwrap().first().unwrap().address(), Some("no-reply@example.com"));
        assert_eq!(header(&message, "Auto-Submitted"), "Auto-Submitted: auto-generated");
        let kind = parsed.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("alternative")));
        assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), "¡Hola!\n.\n..");
        assert_eq!(parsed.body_html(0).unwrap().trim_end(), "<p>¡Hola &amp; adiós!</p>");
        let kinds = parsed.parts[1..].iter().map(|part| part.content_type().unwrap().subtype().unwrap());
        assert_eq!(kinds.collect::<Vec<_>>(), ["plain", "html"]);
        assert!(message.bytes().is_ascii());
        assert!(message.is_to(&"ana@milonga.xn--espaa-rta".parse().unwrap()));
        assert_eq!(message.envelope().from().unwrap().to_string(), "no-reply@example.com");
    }

    #[test]
    fn names_with_parentheses_commas_and_quotes_stay_whole() {
        for name in ["(x)", "Ana, Bob", "\"Ana\"", "Ana \\ Bob", "=?utf-8?q?x?= y", "A. N. A.", "🕺🏽💃"]
        {
            let message = compose(name, "x").unwrap();
            let parsed = MessageParser::default().parse(message.bytes()).unwrap();
            let to = parsed.to().unwrap().as_list().unwrap();
            assert_eq!((to.len(), to[0].address()), (1, Some("ana@milonga.xn--espaa-rta")), "{name}");
            if !name.starts_with("=?") {
                assert_eq!(to[0].name(), Some(name));
            }
        }
    }

    #[test]
    fn every_attempt_has_the_same_bytes() {
        assert_eq!(compose("Ana", "x").unwrap().bytes(), compose("Ana", "x").unwrap().bytes());
    }

    #[test]
    fn long_subjects_are_encoded_in_short_words_of_whole_characters() {
        for subject in [
            "🕺🏽💃".repeat(40),
            "Milonga ".repeat(30).trim_end().to_owned(),
            "la cumparsita ñ 🎻 ".repeat(12).trim_end().to_owned(),
            "ñ".repeat(200),
            format!("{} y más", "x".repeat(180)),
        ] {
            let message = compose("Ana", &subject).unwrap();
            let lines = header(&message, "Subject");
            for line in lines.split("\r\n") {
                assert!(line.len() <= 200, "{line}");
                for word in line.split(' ').filter(|word| word.starts_with("=?")) {
                    assert!(word.len() <= 75 && word.ends_with("?="), "{word}");
                    let bytes = word.split('?').nth(3).unwrap();
                    let engine = base64::engine::general_purpose::STANDARD;
                    let bytes = base64::Engine::decode(&engine, bytes).unwrap();
                    assert!(String::from_utf8(bytes).is_ok(), "a character is cut in {word}");
                }
            }
            let parsed = MessageParser::default().parse(message.bytes()).unwrap();
            assert_eq!(parsed.subject(), Some(subject.as_str()));
        }
    }

    #[test]
    fn what_could_begin_a_header_is_refused() {
        for end in ["\r\n", "\n", "\r", "\0"] {
            let injected = format!("x{end}Bcc: all@example.com");
            assert!(matches!(compose("Ana", &injected), Err(ComposeError::Subject(_))), "{end:?}");
            assert!(matches!(MessageId::of_job(&injected), Err(ComposeError::Id)));
        }
        for id in ["", "a.b", "a/b", "../x", "a b", "ñ", &"x".repeat(61)] {
            assert!(matches!(MessageId::of_job(id), Err(ComposeError::Id)), "{id}");
        }
        let to = Mailbox::from("ana@example.com".parse::<Address>().unwrap());
        let id = || MessageId::of_job("1").unwrap();
        for domain in ["a\r\nb", "", "a b", "a>b", "a@b"] {
            let composed = Message::compose(&to, &to, &rendered("x"), id(), domain, Timestamp::UNIX_EPOCH);
            assert!(matches!(composed, Err(ComposeError::Domain(_))), "{domain:?}");
        }
        let composed = Message::compose(&to, &to, &rendered("x"), id(), "example.com", Timestamp::MIN);
        assert!(matches!(composed, Err(ComposeError::Date)));
    }

    #[test]
    fn t31_a_letter_in_a_list_can_be_left_by_one_click() {
        let to = Mailbox::from("ana@example.com".parse::<Address>().unwrap());
        let headers = |site: &str, list: Option<MailingList>| {
            let links = links(site);
            let unsubscribe = list.map(|list| links.of("01890a5d-ac96-774b-bcce-b302099a8057").link(list));
            let rendered = Rendered { unsubscribe: unsubscribe.clone(), ..rendered("x") };
            let id = MessageId::of_job("1").unwrap();
            let message =
                Message::compose(&to, &to, &rendered, id, "tango.españa", Timestamp::UNIX_EPOCH).unwrap();
            let text = String::from_utf8(message.bytes().to_vec()).unwrap();
            let (headers, _) = text.split_once("\r\n\r\n").unwrap();
            let lines = headers.split("\r\n").filter(|line| line.starts_with("List-"));
            (lines.map(str::to_owned).collect::<Vec<_>>(), unsubscribe.map(|link| link.url().to_owned()))
        };
        for list in MailingList::ALL {
            let (lines, url) = headers("https://example.com", Some(list));
            let name = list.name();
            assert_eq!(
                lines,
                [
                    format!("List-Id: MundoTango {name} <{name}.tango.xn--espaa-rta>"),
                    format!("List-Unsubscribe: <{}>", url.unwrap()),
                    "List-Unsubscribe-Post: List-Unsubscribe=One-Click".to_owned(),
                ]
            );
            // Mail programs post over HTTPS alone, so there is no promise without it.
            assert_eq!(headers("http://localhost:5000", Some(list)).0.len(), 2);
        }
        let (lines, url) =
            headers(&format!("https://example.com/{}", "x".repeat(550)), Some(MailingList::Digest));
        assert!(lines.iter().all(|line| line.len() <= 998) && lines[1].contains(&url.unwrap()));
        assert_eq!(headers("https://example.com", None).0, Vec::<String>::new());
    }

    #[test]
    fn t32_the_return_path_is_of_the_envelope_alone() {
        let path = "bounces+1-0123456789abcdef@example.com".parse().unwrap();
        let message = compose("Ana", "x").unwrap();
        let sent = message.clone().with_return_path(&path).unwrap();
        assert_eq!(sent.envelope().from().unwrap().to_string(), path.as_str());
        assert_eq!((sent.envelope().to(), sent.bytes()), (message.envelope().to(), message.bytes()));
    }

    #[test]
    fn an_invitation_stands_beside_the_texts_and_as_a_file() {
        let to = Mailbox::from("ana@example.com".parse::<Address>().unwrap());
        for (method, name) in [(Method::Request, "REQUEST"), (Method::Cancel, "CANCEL")] {
            let calendar =
                format!("BEGIN:VCALENDAR\r\nMETHOD:{name}\r\nSUMMARY:¡Milonga! 💃\r\nEND:VCALENDAR\r\n");
            let invitation = Invitation { method, calendar: calendar.clone() };
            let (id, date) = (MessageId::of_job("1").unwrap(), Timestamp::UNIX_EPOCH);
            let invited = Some(&invitation);
            let message =
                Message::compose_with(&to, &to, &rendered("x"), invited, id, "example.com", date).unwrap();
            assert!(message.bytes().is_ascii());
            let parsed = MessageParser::default().parse(message.bytes()).unwrap();
            let kinds: Vec<_> = parsed.parts.iter().map(|part| part.content_type().unwrap()).collect();
            let names: Vec<_> = kinds.iter().map(|kind| kind.subtype().unwrap()).collect();
            assert_eq!(names, ["mixed", "alternative", "plain", "html", "calendar", "ics"]);
            assert_eq!(kinds[4].attribute("method"), Some(name), "it is the one of the calendar");
            assert_eq!(kinds[4].attribute("charset"), Some("utf-8"));
            assert!(
                parsed.parts[4].content_disposition().is_none(),
                "what is attached is no invitation to some"
            );
            assert_eq!(parsed.parts[4].text_contents().unwrap().trim_end(), calendar.trim_end());
            assert_eq!(parsed.parts[5].contents(), calendar.as_bytes());
            assert_eq!(parsed.parts[5].attachment_name(), Some("invite.ics"));
            assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), "¡Hola!\n.\n..");
        }
    }

    #[test]
    fn every_letter_fits_into_lines_that_servers_take() {
        let renderer = Renderer::new().unwrap();
        let to = Mailbox::from("ana@example.com".parse::<Address>().unwrap());
        let links = links("https://example.com");
        for letter in Letter::samples("Ana") {
            for language in Language::ALL {
                let rendered = renderer.render(&letter, language, &links.of("1")).unwrap();
                let id = MessageId::of_job("1").unwrap();
                let message =
                    Message::compose(&to, &to, &rendered, id, "example.com", Timestamp::UNIX_EPOCH).unwrap();
                let text = std::str::from_utf8(message.bytes()).unwrap();
                assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
                let parsed = MessageParser::default().parse(message.bytes()).unwrap();
                let html = parsed.body_html(0).unwrap().replace("\r\n", "\n");
                assert_eq!(html.trim_end(), rendered.html.replace("\r\n", "\n").trim_end());
            }
        }
    }
}
