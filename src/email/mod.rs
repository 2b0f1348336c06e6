//! Letters to people: from what happened to bytes that a mail server takes.
//!
//! A [`Letter`] says what a person is told. The [`Renderer`] writes it in a [`Language`], as HTML and as
//! plain text. [`Message::compose`] makes one e-mail of it for one person, and a [`Transport`] hands that
//! over. Who gets which letter, when, and how often a failure is tried again is not decided here.

mod address;
mod bounces;
mod compile;
mod dates;
mod escape;
mod language;
mod letter;
mod message;
mod options;
pub mod page;
mod preview;
mod render;
mod return_path;
mod samples;
mod suppression;
mod texts;
mod transport;
mod unsubscribe;
pub mod unsubscribe_page;

pub use address::{Address, AddressError, DisplayName, Mailbox};
pub use bounces::{
    Feedback, FeedbackKind, SendgridKey, SendgridKeyError, SigningCertificates, SnsClient, SnsMessage,
    SnsNews, WebhookError, read_dsn, read_sendgrid, read_sns,
};
pub use dates::Dates;
pub use language::Language;
pub use letter::{
    BookingStep, DigestItem, DigestSection, EventLines, Letter, MailingList, PaymentStep, ReceiptLine, Scope,
    SeriesDate,
};
pub use message::{ComposeError, Invitation, Message, MessageId};
pub use options::{MailOptions, MailTransport, SendgridOptions, SesOptions, SmtpOptions, SmtpTls};
pub use preview::write_preview;
pub use render::{Rendered, Renderer};
pub use return_path::{ReturnPaths, SignedPath};
pub use suppression::{Blocked, HardBounces, SUPPRESSIONS, Suppression, SuppressionList};
pub use transport::{
    FolderTransport, SendError, SendgridTransport, SesTransport, SmtpFault, SmtpTransport, TemporaryScope,
    Transport,
};
pub use unsubscribe::{
    BadSite, UNSUBSCRIBE_PATH, UnsubscribeKey, UnsubscribeLink, UnsubscribeLinks, UserLinks,
};
pub use unsubscribe_page::UnsubscribeAction;
