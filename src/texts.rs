//! The texts that people write: one type for each kind of field, so that each limit is said once, for bodies of every door,
//! for command lines, for agents, and in the API's document.
//!
//! Every text is brought to Unicode's form NFC, so that what looks the same is the same, and none is made of invisible
//! characters alone. Limits count characters.

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::FieldCode;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What characters a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One line, without what turns the direction of the text around it.
    Line,
    /// Lines and tabs.
    Prose,
    /// Printable ASCII without spaces.
    Token,
    /// Anything, exactly as it is.
    Secret,
}

/// What a kind of text allows.
struct Rule {
    form: Form,
    min: usize,
    max: usize,
    /// The name by which OpenAPI knows the form.
    format: Option<&'static str>,
    /// The form as a regular expression (ECMA 262), where it is narrower than what characters there may be.
    pattern: Option<&'static str>,
    /// A text of this kind, for the document.
    example: &'static str,
    /// What else must hold; the error says what.
    check: fn(&str) -> Result<(), String>,
}

const fn rule(form: Form, min: usize, max: usize, example: &'static str) -> Rule {
    Rule { form, min, max, format: None, pattern: None, example, check: |_| Ok(()) }
}

/// Declares a kind of text.
macro_rules! text {
    ($(#[doc = $about:literal] $name:ident = $rule:expr;)+) => {$(
        #[doc = $about]
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            const RULE: Rule = $rule;
            /// The fewest characters.
            pub const MIN_CHARACTERS: usize = Self::RULE.min;
            /// The most characters.
            pub const MAX_CHARACTERS: usize = Self::RULE.max;

            /// The text.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match Self::RULE.form {
                    Form::Secret => f.write_str("(hidden)"),
                    _ => std::fmt::Debug::fmt(&self.0, f),
                }
            }
        }

        impl Deserr<BadFields> for $name {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                at: ValuePointerRef<'_>,
            ) -> Result<Self, BadFields> {
                Self::RULE.read(value, at).map(Self)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                Self::RULE.schema($about.trim())
            }
        }

        impl ToSchema for $name {}
    )+};
}

text! {
    /// How a user wants to be called.
    FullName = rule(Form::Line, 1, 100, "Ana Pérez");
    /// The name by which a user is found.
    Username = Rule {
        check: is_username,
        pattern: Some("^[A-Za-z0-9_.-]*[A-Za-z0-9][A-Za-z0-9_.-]*$"),
        ..rule(Form::Token, 3, 30, "ana") };
    /// An e-mail address.
    EmailAddress = Rule { format: Some("email"), check: is_email, ..rule(Form::Token, 3, 254, "ana@example.com") };
    /// A password that is to be set.
    NewPassword = Rule { format: Some("password"), ..rule(Form::Secret, 8, 128, "abrazo-1234") };
    /// What somebody logs in with, whatever was allowed when it was set.
    GivenPassword = Rule { format: Some("password"), ..rule(Form::Secret, 1, 1024, "abrazo-1234") };
    /// What a user tells about the own person.
    Bio = rule(Form::Prose, 1, 1000, "Dancing since 2010.");
    /// How a user is spoken of.
    Pronouns = rule(Form::Line, 1, 40, "she/her");
    /// A language, as BCP 47 names it: with a script or a region, or without.
    LanguageTag = Rule {
        check: is_language_tag,
        pattern: Some("^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?$"),
        ..rule(Form::Token, 2, 11, "es-AR") };
    /// The name of a city.
    City = rule(Form::Line, 1, 100, "Buenos Aires");
    /// The address of a page or picture that is shown to others.
    WebAddress = Rule {
        format: Some("uri"),
        check: is_web_address,
        pattern: Some("^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$"),
        ..rule(Form::Token, 1, 2000, "https://example.com/ana.png") };
    /// What a post says.
    PostText = rule(Form::Prose, 1, 5000, "Who dances tonight?");
    /// What a comment says.
    CommentText = rule(Form::Prose, 1, 2000, "See you there!");
    /// What a picture shows, for those who do not see it.
    AltText = rule(Form::Line, 1, 500, "Two dancers on an empty floor");
    /// What can be chosen in a poll.
    PollOption = rule(Form::Line, 1, 80, "On Friday");
    /// A hashtag, with its sign or without.
    TagText = rule(Form::Line, 1, 51, "tango");
    /// What a thing is called.
    Title = rule(Form::Line, 1, 200, "Milonga at La Viruta");
    /// What a thing is, at length.
    Description = rule(Form::Prose, 1, 10_000, "Live music from ten on.");
    /// A venue or a whole address.
    Place = rule(Form::Prose, 1, 300, "La Viruta, Armenia 1366");
    /// What is said to an agent.
    AgentText = rule(Form::Prose, 1, 4000, "Where can I dance on Friday?");
    /// An id that this server or a client made.
    Id = rule(Form::Token, 1, 64, "01a22267-5695-774a-9335-497936266a2f");
    /// A place in the feed, or the id of a post.
    FeedPlace = rule(Form::Token, 1, 128, "01a22267-5695-774a-9335-497936266a2f");
    /// Why something is so.
    Reason = rule(Form::Prose, 1, 500, "The hall is flooded.");
    /// What guests keep to at somebody's place.
    HouseRules = rule(Form::Prose, 1, 5000, "No shoes inside. Quiet after midnight.");
    /// How a guest gets in.
    CheckInText = rule(Form::Prose, 1, 2000, "From 15:00 on. Ring at 4B.");
    /// The address of a photo.
    PhotoAddress = Rule {
        format: Some("uri"),
        check: is_secure_address,
        pattern: Some("^[Hh][Tt][Tt][Pp][Ss]://[!-~]+$"),
        ..rule(Form::Token, 1, 1000, "https://example.com/room.jpg") };
    /// What a guest and a host write to each other about a stay.
    BookingNote = rule(Form::Prose, 1, 2000, "We come for the festival.");
    /// What somebody says of a stay, to everybody or to the other side.
    ReviewText = rule(Form::Prose, 1, 4000, "Quiet, and close to the milongas.");
    /// What somebody says in a conversation.
    MessageText = rule(Form::Prose, 1, 4000, "See you at the milonga?");
    /// The address of something that is sent with a message.
    AttachmentAddress = Rule {
        format: Some("uri"),
        check: is_secure_address,
        pattern: Some("^[Hh][Tt][Tt][Pp][Ss]://[!-~]+$"),
        ..rule(Form::Token, 1, 1000, "https://example.com/salon.jpg") };
    /// What is said in a support ticket.
    TicketText = rule(Form::Prose, 1, 5000, "I paid for Saturday, and have no place.");
    /// What a member says of what is reported.
    ReportText = rule(Form::Prose, 1, 1000, "The same advertisement in every group.");
    /// What somebody has against a decision of the moderators.
    AppealText = rule(Form::Prose, 1, 4000, "The photo is mine, and I was asked to post it.");
    /// What everybody is told.
    AnnouncementText = rule(Form::Prose, 1, 2000, "On Sunday at four we are away for ten minutes.");
    /// The id, the e-mail address or the username of a user who is looked for.
    SearchedUser = rule(Form::Token, 1, 254, "ana@example.com");
    /// Words that are searched for.
    SearchText = rule(Form::Line, 1, 100, "near the milonga");
    /// Words and phrases that are searched for everywhere.
    Words = rule(Form::Line, 1, 200, "milonga \"live music\"");
    /// What a user calls a device.
    DeviceName = rule(Form::Line, 1, 100, "Phone");
    /// A token or key of a push service.
    PushToken = rule(Form::Token, 1, 1024, "fGci7Q0vS2m1:APA91bH");
    /// The token of a link that was mailed.
    LinkToken = rule(Form::Token, 1, 256, "mWb2V1o7c3A");
    /// A code of a second factor, or a recovery code; spaces and hyphens do not count.
    SecondFactorCode = rule(Form::Line, 6, 40, "492039");
    /// The challenge of a login that waits for a code.
    ChallengeToken = rule(Form::Token, 1, 256, "01a22267.01a22268.mWb2V1o7c3A");
    /// A refresh token.
    RefreshTokenText = rule(Form::Token, 1, 256, "mWb2V1o7c3A");
}

impl Rule {
    fn read<V: IntoValue>(&self, value: Value<V>, at: ValuePointerRef<'_>) -> Result<String, BadFields> {
        let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, "a text", at)) };
        self.apply(&text).map_err(|(code, message)| BadFields::one(at, code, message))
    }

    /// The text as it is kept.
    fn apply(&self, text: &str) -> Result<String, (FieldCode, String)> {
        let sent = match self.form {
            // A Windows browser sends both characters for a new line.
            Form::Prose if text.contains('\r') => nfc(&text.replace("\r\n", "\n")),
            _ => nfc(text),
        };
        let text = if self.form == Form::Secret { sent.as_str() } else { sent.trim() };
        if let Some(bad) = text.chars().find(|character| !self.form.allows(*character)) {
            let allowed = self.form.allowed();
            return Err((
                FieldCode::BadCharacters,
                format!("{allowed}; U+{:04X} is not allowed", bad as u32),
            ));
        }
        if self.form != Form::Secret && !text.chars().any(is_visible) {
            return Err((FieldCode::Blank, format!("must not be blank; {}", self.length())));
        }
        let length = text.chars().count();
        if length < self.min {
            return Err((FieldCode::TooShort, self.length()));
        }
        // The spaces around it count here: the document's `maxLength` tells of what is sent.
        if sent.chars().count() > self.max {
            return Err((FieldCode::TooLong, self.length()));
        }
        (self.check)(text).map_err(|message| (FieldCode::BadForm, message))?;
        Ok(text.to_owned())
    }

    fn length(&self) -> String {
        format!("must have {} to {} characters", self.min, self.max)
    }

    fn schema(&self, about: &str) -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let schema = schema.min_length(Some(self.min));
        let schema = schema.max_length(Some(self.max));
        let schema = schema.pattern(self.pattern.or(self.form.pattern())).examples([self.example]);
        schema.format(self.format.map(|name| SchemaFormat::Custom(name.to_owned()))).into()
    }
}

impl Form {
    fn allows(self, character: char) -> bool {
        match self {
            Self::Line => !is_control(character) && !turns_direction(character),
            Self::Prose => !is_control(character) || matches!(character, '\n' | '\t'),
            Self::Token => character.is_ascii_graphic(),
            Self::Secret => true,
        }
    }

    /// What of this a regular expression (ECMA 262) can tell that all readers of the document understand: which characters
    /// are not allowed, and that one is not a space.
    fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Line => Some(concat!(
                r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*",
                r"[^\u0000-\u0020\u007f-\u00a0\u00ad\u2000-\u206f\u3000\ufeff]",
                r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$",
            )),
            Self::Prose => Some(concat!(
                r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]*",
                r"[^\u0000-\u0020\u007f-\u00a0\u00ad\u2000-\u206f\u3000\ufeff]",
                r"[^\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]*$",
            )),
            Self::Token => Some("^[!-~]+$"),
            Self::Secret => None,
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Self::Line => "must be one line without control characters",
            Self::Prose => "must hold no control characters but new lines and tabs",
            Self::Token => "must hold ASCII letters, digits and signs alone, without spaces",
            Self::Secret => "may hold anything",
        }
    }
}

/// A text of elsewhere as one line of so many characters at most, cut where it is longer, without what a line may not hold.
/// `None` where nothing of it is seen, or where it was read wrongly.
pub fn line_of_elsewhere(text: &str, most: usize) -> Option<String> {
    let kept = text.chars().filter(|character| !turns_direction(*character));
    let plain: String = kept.map(|character| if is_control(character) { ' ' } else { character }).collect();
    let line = nfc(&plain.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.contains(char::REPLACEMENT_CHARACTER) || !line.chars().any(is_visible) {
        return None;
    }
    if line.chars().nth(most).is_none() {
        return Some(line);
    }
    Some(line.chars().take(most.saturating_sub(1)).chain(['…']).collect())
}

/// An address of elsewhere at which a photo may be.
pub fn address_of_elsewhere(address: &str) -> Option<String> {
    PhotoAddress::RULE.apply(address).ok()
}

/// Most texts have the form already, which is quickly seen.
fn nfc(text: &str) -> String {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.to_owned(),
        IsNormalized::No | IsNormalized::Maybe => text.nfc().collect(),
    }
}

/// Control characters, and the two that divide lines and paragraphs.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Embeddings, overrides and isolates, by which a name makes what stands around it read backwards.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character leaves ink: letters, digits, signs and emoji, without those letters that are drawn as nothing.
fn is_visible(character: char) -> bool {
    let fillers = ['\u{115F}', '\u{1160}', '\u{3164}', '\u{FFA0}', '\u{2800}'];
    let inked = matches!(
        character.general_category_group(),
        GeneralCategoryGroup::Letter
            | GeneralCategoryGroup::Number
            | GeneralCategoryGroup::Punctuation
            | GeneralCategoryGroup::Symbol
    );
    inked && !fillers.contains(&character)
}

fn is_username(name: &str) -> Result<(), String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    if name.chars().all(allowed) && name.chars().any(|character| character.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err("must be of letters, digits, _, . and -, and hold a letter or digit".to_owned())
    }
}

fn is_language_tag(tag: &str) -> Result<(), String> {
    let mut parts = tag.split('-').peekable();
    let letters = |part: &str, from: usize, to: usize| {
        (from..=to).contains(&part.len()) && part.bytes().all(|letter| letter.is_ascii_alphabetic())
    };
    let is_language = parts.next().is_some_and(|part| letters(part, 2, 3));
    // A script may be left out.
    let _script = parts.next_if(|part| letters(part, 4, 4));
    let is_region = |part: &str| {
        letters(part, 2, 2) || (part.len() == 3 && part.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let fits = is_language && parts.next().is_none_or(is_region) && parts.next().is_none();
    if fits { Ok(()) } else { Err("must be a language such as es, pt-BR or zh-Hant".to_owned()) }
}

fn is_email(address: &str) -> Result<(), String> {
    let wrong = |_| "must be an e-mail address, such as ana@example.com".to_owned();
    garde::rules::email::parse_email(address).map_err(wrong)
}

/// Other schemes run scripts where an address becomes a link; a user name in it makes one host look like another.
fn is_web_address(address: &str) -> Result<(), String> {
    let fits = url::Url::parse(address).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    });
    if fits { Ok(()) } else { Err("must be an address that begins with https:// or http://".to_owned()) }
}

/// What stands on a page that came safely comes safely too, or browsers do not show it.
fn is_secure_address(address: &str) -> Result<(), String> {
    let is_secure = address.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    if is_secure && is_web_address(address).is_ok() {
        Ok(())
    } else {
        Err("must be an address that begins with https://".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(rule: &Rule, text: &str) -> Option<FieldCode> {
        rule.apply(text).err().map(|(code, _)| code)
    }

    #[test]
    fn what_looks_the_same_is_kept_the_same() {
        let composed = FullName::RULE.apply("  Jos\u{e9} \u{a0}").unwrap();
        assert_eq!(composed, "José");
        assert_eq!(FullName::RULE.apply("Jose\u{301}").unwrap(), composed);
        assert_eq!(PostText::RULE.apply("a\r\nb\tc\n").unwrap(), "a\nb\tc");
        assert_eq!(NewPassword::RULE.apply(" abrazo 1 ").unwrap(), " abrazo 1 ");
    }

    #[test]
    fn names_are_lines_that_can_be_seen() {
        use FieldCode::{BadCharacters, Blank, TooLong};
        for (name, wrong) in [
            ("Ana", None),
            ("משה \u{200f}כהן", None),
            ("👨\u{200d}👩\u{200d}👧", None),
            ("Ana\nLuis", Some(BadCharacters)),
            ("Ana\u{7}", Some(BadCharacters)),
            ("Ana\u{2028}", None),
            ("A\u{2028}na", Some(BadCharacters)),
            ("\u{202e}anA", Some(BadCharacters)),
            ("\u{2066}Ana", Some(BadCharacters)),
            ("", Some(Blank)),
            (" \u{3000}", Some(Blank)),
            ("\u{200b}\u{200d}\u{feff}", Some(Blank)),
            ("\u{3164}\u{2800}\u{115f}", Some(Blank)),
        ] {
            assert_eq!(code(&FullName::RULE, name), wrong, "{name:?}");
        }
        assert_eq!(code(&FullName::RULE, &"ñ".repeat(100)), None, "limits count characters");
        assert_eq!(code(&FullName::RULE, &"ñ".repeat(101)), Some(TooLong));
        assert_eq!(
            code(&FullName::RULE, &format!("{}\n", "ñ".repeat(100))),
            Some(TooLong),
            "of what is sent"
        );
    }

    #[test]
    fn each_kind_keeps_its_form() {
        use FieldCode::{BadCharacters, BadForm, Blank, TooLong, TooShort};
        for (rule, text, wrong) in [
            (Username::RULE, "ana.b-1_", None),
            (Username::RULE, "...", Some(BadForm)),
            (Username::RULE, "ana+b", Some(BadForm)),
            (Username::RULE, "ñandú", Some(BadCharacters)),
            (Username::RULE, "an", Some(TooShort)),
            (EmailAddress::RULE, " ana@example.com ", None),
            (EmailAddress::RULE, "ana", Some(BadForm)),
            (EmailAddress::RULE, "ana@", Some(BadForm)),
            (NewPassword::RULE, "short", Some(TooShort)),
            (WebAddress::RULE, "https://example.com/a.png?x=1#y", None),
            (WebAddress::RULE, "javascript:alert(1)", Some(BadForm)),
            (WebAddress::RULE, "data:text/html,x", Some(BadForm)),
            (WebAddress::RULE, "https://bank.example@evil.example/", Some(BadForm)),
            (WebAddress::RULE, "//example.com", Some(BadForm)),
            (WebAddress::RULE, "a.png", Some(BadForm)),
            (PhotoAddress::RULE, "https://example.com/a.jpg", None),
            (PhotoAddress::RULE, "http://example.com/a.jpg", Some(BadForm)),
            (PhotoAddress::RULE, "https://a@evil.example/", Some(BadForm)),
            (LanguageTag::RULE, "es", None),
            (LanguageTag::RULE, "zh-Hant-TW", None),
            (LanguageTag::RULE, "es-419", None),
            (LanguageTag::RULE, "spanish", Some(BadForm)),
            (LanguageTag::RULE, "es-AR-x", Some(BadForm)),
            (LanguageTag::RULE, "e1", Some(BadForm)),
            (LanguageTag::RULE, "zh-TW-Hant", Some(BadForm)),
            (PostText::RULE, "\n\t ", Some(Blank)),
            (PostText::RULE, "a\u{0}b", Some(BadCharacters)),
            (PostText::RULE, "שלום \u{2067}abc\u{2069}", None),
            (Id::RULE, "a b", Some(BadCharacters)),
            (Id::RULE, &"x".repeat(65), Some(TooLong)),
        ] {
            assert_eq!(code(&rule, text), wrong, "{text:?}");
        }
    }
}
