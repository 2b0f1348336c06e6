//! Letters to people: from what happened to bytes that a mail server takes.
//!
//! A [`Letter`] says what a person is told. The [`Renderer`] writes it in a [`Language`], as HTML and as
//! plain text. [`Message::compose`] makes one e-mail of it for one person, and a [`Transport`] hands that
//! over. Who gets which letter, when, and how often a failure is tried again is not decided here.

mod address;
mod letter;
mod message;
mod options;
mod render;
mod transport;

pub use address::{Address, AddressError, DisplayName, Mailbox};
pub use letter::{EventLines, Language, Letter, Scope};
pub use message::{ComposeError, Message, MessageId};
pub use options::{MailOptions, MailTransport, SmtpOptions, SmtpTls};
pub use render::{Rendered, Renderer};
pub use transport::{FolderTransport, SendError, SmtpTransport, Transport};
