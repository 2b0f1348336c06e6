//! Addresses and names that are safe in headers and in commands: a value of these types never holds a line
//! break.
//!
//! What is bad is refused, never stripped: a name with a line break in it is an attack or a defect, and both
//! should be seen.

use std::fmt;
use std::str::FromStr;

use url::Host;

/// Longest address, in bytes (RFC 5321, 4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS_BYTES: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;
/// Longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 200;

/// Why a text is no address or no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A control character, which could begin a header of its own.
    #[error("holds a line break or another control character")]
    Control,
    /// More than mail servers take.
    #[error("is too long")]
    TooLong,
    /// Nothing that can be seen.
    #[error("is blank")]
    Blank,
    /// Not `name@domain`.
    #[error("is no e-mail address")]
    NoAddress,
}

/// The e-mail address of one person. An international domain is kept as its A-label (`xn--…`), which every
/// server takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(lettre::Address);

impl Address {
    /// The part behind the `@`, in ASCII.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// The whole address, in ASCII.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// The address as the mail library knows it.
    pub(super) fn inner(&self) -> &lettre::Address {
        &self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        refuse_controls(text)?;
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAddress)?;
        if local.len() > MAX_LOCAL_BYTES {
            return Err(AddressError::TooLong);
        }
        // Quoted local parts may hold spaces and further @ signs, which servers read in different ways. Other
        // alphabets need SMTPUTF8 on all servers of the way, and accounts cannot have them.
        if !local.is_ascii() || local.contains(['"', ' ', '@', '<', '>']) {
            return Err(AddressError::NoAddress);
        }
        let domain = ascii_domain(domain)?;
        if local.len() + 1 + domain.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong);
        }
        lettre::Address::new(local, domain).map(Self).map_err(|_| AddressError::NoAddress)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a person or the site is called beside an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DisplayName(String);

impl DisplayName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        refuse_controls(text)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Blank);
        }
        if text.chars().count() > MAX_NAME_CHARACTERS {
            return Err(AddressError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

/// An address with the name of whom it belongs to: `Ana <ana@example.com>`, or the address alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// The name that mail programs show.
    pub name: Option<DisplayName>,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// The mailbox as the mail library knows it.
    pub(super) fn to_inner(&self) -> lettre::message::Mailbox {
        let name = self.name.as_ref().map(|name| name.0.clone());
        lettre::message::Mailbox::new(name, self.address.0.clone())
    }
}

impl From<Address> for Mailbox {
    fn from(address: Address) -> Self {
        Self { name: None, address }
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        refuse_controls(text)?;
        let Some((name, address)) = text.trim().strip_suffix('>').and_then(|text| text.rsplit_once('<'))
        else {
            return text.trim().parse::<Address>().map(Self::from);
        };
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        let name = if name.trim().is_empty() { None } else { Some(name.parse()?) };
        Ok(Self { name, address: address.parse()? })
    }
}

/// A domain as its A-label.
pub(super) fn ascii_domain(domain: &str) -> Result<String, AddressError> {
    // The parser of hosts decodes percent signs, so that a domain would become another.
    if domain.contains('%') {
        return Err(AddressError::NoAddress);
    }
    match Host::parse(domain) {
        Ok(Host::Domain(domain)) => Ok(domain),
        _ => Err(AddressError::NoAddress),
    }
}

/// Refuses what could end a header or a command: CR, LF, NUL, and every other control character with them.
/// Two separators of Unicode are line breaks to some programs.
pub(super) fn refuse_controls(text: &str) -> Result<(), AddressError> {
    let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(bad) { Err(AddressError::Control) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_and_international_domains_become_a_labels() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("ana.b+tango@example.com"), Ok("ana.b+tango@example.com".to_owned()));
        assert_eq!(read("ana@milonga.españa"), Ok("ana@milonga.xn--espaa-rta".to_owned()));
        assert_eq!(read("ana@EXAMPLE.com"), Ok("ana@example.com".to_owned()));
        assert_eq!(read("no-reply@localhost"), Ok("no-reply@localhost".to_owned()));
    }

    #[test]
    fn nothing_that_could_end_a_header_or_a_command_is_an_address() {
        for end in ["\r", "\n", "\r\n", "\0", "\u{85}", "\u{2028}"] {
            for text in [
                format!("ana@example.com{end}Bcc: bob@example.com"),
                format!("ana{end}@example.com"),
                format!("ana@example.com{end}"),
            ] {
                assert_eq!(text.parse::<Address>(), Err(AddressError::Control), "{text:?}");
                assert_eq!(text.parse::<Mailbox>(), Err(AddressError::Control), "{text:?}");
            }
            assert_eq!(format!("Ana{end}Bcc: x").parse::<DisplayName>(), Err(AddressError::Control));
            assert_eq!(format!("Ana{end}").parse::<DisplayName>(), Err(AddressError::Control));
        }
        for text in [
            "",
            "ana",
            "@example.com",
            "ana@",
            "ana bob@example.com",
            "ana@exa mple.com",
            "\"a b\"@example.com",
            "ana@bob@example.com",
            "<ana@example.com>",
            "ana>@example.com",
            "ana@example.com> SIZE=1",
            "ñandú@example.com",
            "ana@%65xample.com",
            "ana@127.0.0.1",
            "ana@[::1]",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::NoAddress), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let address = |local: usize, label: usize| {
            let labels = vec!["d".repeat(label); 4].join(".");
            format!("{}@{labels}", "a".repeat(local)).parse::<Address>()
        };
        assert!(address(64, 46).is_ok());
        assert_eq!(address(65, 10), Err(AddressError::TooLong));
        assert_eq!(address(64, 60), Err(AddressError::TooLong));
        assert!("ñ".repeat(200).parse::<DisplayName>().is_ok());
        assert_eq!("ñ".repeat(201).parse::<DisplayName>(), Err(AddressError::TooLong));
        assert_eq!("  ".parse::<DisplayName>(), Err(AddressError::Blank));
    }

    #[test]
    fn mailboxes_are_read_with_and_without_a_name() {
        let read = |text: &str| {
            let mailbox = text.parse::<Mailbox>().unwrap();
            (mailbox.name.map(|name| name.0), mailbox.address.to_string())
        };
        let named = |name: &str| (Some(name.to_owned()), "ana@example.com".to_owned());
        assert_eq!(read("Ana, \"la\" (x) <ana@example.com>"), named("Ana, \"la\" (x)"));
        assert_eq!(read("\"Ana\" <ana@example.com>"), named("Ana"));
        for alone in ["ana@example.com", "<ana@example.com>", " ana@example.com "] {
            assert_eq!(read(alone), (None, "ana@example.com".to_owned()));
        }
        assert_eq!("Ana <ana>".parse::<Mailbox>(), Err(AddressError::NoAddress));
    }
}
