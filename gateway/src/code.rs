//! The causes of errors, as programs read them: names that stay as they are, each with its entry on the page `/problems`.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::response::Html;
use serde::{Serialize, Serializer};

/// Where the page is served.
pub(crate) const PAGE: &str = "/problems";

/// Declares an enum of names with what each means, so that no code is without its entry.
macro_rules! codes {
    ($(#[$about:meta])* $enum:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $enum {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $enum {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that programs read.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happened, and what a client does about it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }

        impl Serialize for $enum {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

codes! {
    /// Why a request failed: a problem's `code`.
    Code {
        /// The request is malformed in a way that no other code tells; the detail says how.
        BadRequest = "bad_request",
        /// The body is not JSON. The detail names the line and the column.
        InvalidJson = "invalid_json",
        /// Fields of the body, parameters of the query or parts of the path hold what they may not, are unknown, or are
        /// missing. `errors` names each of them with what is allowed; correct them all and send the request again.
        InvalidInput = "invalid_input",
        /// The cursor was not given by this list. Begin with its first page, without a cursor.
        InvalidCursor = "invalid_cursor",
        /// There is no bearer token, or it is not one that this server reads. Log in.
        Unauthenticated = "unauthenticated",
        /// The access token is over. Get another one by the refresh token.
        TokenExpired = "token_expired",
        /// The access token is not good: wrongly signed, or not made for this server. Log in.
        TokenInvalid = "token_invalid",
        /// The access token was locked out, as by logging out. Log in.
        TokenRevoked = "token_revoked",
        /// The access token is not good yet: the clocks differ. Send it again a little later.
        TokenNotYetValid = "token_not_yet_valid",
        /// The e-mail address or the password is wrong.
        WrongCredentials = "wrong_credentials",
        /// The password is right, and the account has a second factor. Send `challenge` and a code to
        /// `POST /api/auth/login/second-factor` within five minutes. Where there is no `challenge`, send the same again with a `code`.
        SecondFactorRequired = "second_factor_required",
        /// The code of the second factor is wrong, was used, or is of another time. Send the next one.
        WrongCode = "wrong_code",
        /// The challenge was answered, is too old, had too many wrong codes, or was never made. Log in again.
        ChallengeInvalid = "challenge_invalid",
        /// The refresh token is over, was locked out, or was traded before. Log in.
        RefreshTokenInvalid = "refresh_token_invalid",
        /// The link was used, is too old, or was never made. Ask for another one.
        LinkInvalid = "link_invalid",
        /// The account is blocked. Ask those who run the server.
        AccountBlocked = "account_blocked",
        /// The account is to be deleted. The link in the letter keeps it until then.
        AccountLeaving = "account_leaving",
        /// A decision of the moderators keeps you from this for a time. `GET /api/moderation/decisions` says which, why, until
        /// when, and how to appeal.
        Restricted = "restricted",
        /// You may not do this, or not from this page.
        Forbidden = "forbidden",
        /// There is no such thing, or you may not know of it.
        NotFound = "not_found",
        /// There is no such route.
        NoSuchRoute = "no_such_route",
        /// The route does not know this method; the header `allow` names those that it knows.
        MethodNotAllowed = "method_not_allowed",
        /// The body did not come in time. Send it again.
        RequestTimeout = "request_timeout",
        /// Something stands against it that is there already; the detail says what.
        Conflict = "conflict",
        /// Somebody changed it meanwhile, or does it already. `errors` says under `allowed` how it stands now: look at it again,
        /// and decide again.
        Changed = "changed",
        /// A name that may be used once is in use; `errors` says which.
        Taken = "taken",
        /// The agent still answers what was said before. Send it again when the answer is whole.
        AgentBusy = "agent_busy",
        /// The event is over, and takes no answers any more.
        Over = "over",
        /// There are as many of these as may be; remove some first.
        Full = "full",
        /// The other side has not accepted the conversation: one message may be sent before that.
        RequestPending = "request_pending",
        /// Money hangs on the place: it was paid for, or is held until it is. It cannot be handed on; declining gives it back.
        PlaceIsPaid = "place_is_paid",
        /// It cannot be paid for now: there is nothing to pay, it is paid, or it is not held for you long enough. The detail says
        /// which.
        NotPayable = "not_payable",
        /// So much cannot go back: no money came, or the rest went back, is on its way, or is disputed. The detail says what is
        /// left.
        NotRefundable = "not_refundable",
        /// This server takes no payments. What costs nothing works.
        PaymentsOff = "payments_off",
        /// Who is paid cannot take money yet: the account at Stripe is missing or not ready. `GET /api/payments/payee` tells its
        /// owner what is due.
        PayeeNotReady = "payee_not_ready",
        /// No money goes on to payees' own accounts on this server.
        ConnectOff = "connect_off",
        /// A night is blocked or booked. Look at the calendar again, and ask for other nights.
        NightsTaken = "nights_taken",
        /// The price is another one than `expectedTotal`; `errors` has it under `allowed`. Show it, and send the request again
        /// with it.
        PriceChanged = "price_changed",
        /// The body is larger than it may be.
        BodyTooLarge = "body_too_large",
        /// The body has a content type that this route does not read; send `application/json`.
        UnsupportedMediaType = "unsupported_media_type",
        /// You do more of this than you may. Wait as long as `retry-after` says.
        TooManyRequests = "too_many_requests",
        /// The server failed; its log tells why. What you sent may be good.
        Internal = "internal",
        /// A part that the request needs is not there, or did not answer in time. Send it again after `retry-after`.
        Unavailable = "unavailable",
        /// What was asked for may have been done or not. Look before you send the request again, or send it again with the
        /// `Idempotency-Key` that it had.
        OutcomeUnknown = "outcome_unknown",
        /// A request with this idempotency key is still under way. Send it again after `retry-after`.
        IdempotencyKeyInUse = "idempotency_key_in_use",
        /// This idempotency key was sent with another body before. Take a new key for each new thing.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// The server's disk is full. Nothing was written.
        NoSpace = "no_space",
    }
}

codes! {
    /// What is wrong with one field: the `code` of an entry in a problem's `errors`.
    FieldCode {
        /// The field is needed, and is not there.
        Missing = "missing",
        /// There is no such field; `allowed` lists those that there are.
        Unknown = "unknown",
        /// The field is there more than once.
        Repeated = "repeated",
        /// The field is of another type, as a number where a text is read, or null where null is not allowed.
        WrongType = "wrong_type",
        /// The text holds nothing that can be seen.
        Blank = "blank",
        /// The text is shorter than it may be.
        TooShort = "too_short",
        /// The text is longer than it may be.
        TooLong = "too_long",
        /// The number is lower or higher than it may be.
        OutOfRange = "out_of_range",
        /// The text holds characters that it may not hold.
        BadCharacters = "bad_characters",
        /// The value is none of those that there are; `allowed` lists them.
        NotAllowed = "not_allowed",
        /// The text does not have the form that it must have.
        BadForm = "bad_form",
        /// The field does not go together with another field.
        Contradiction = "contradiction",
        /// The list did not give this cursor.
        BadCursor = "bad_cursor",
        /// Somebody else has it already.
        InUse = "in_use",
    }
}

impl Code {
    /// What a status tells without anything more.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => Self::TooManyRequests,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::INSUFFICIENT_STORAGE => Self::NoSpace,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }

    /// The address of its entry, relative to the server: a problem's `type`.
    pub fn address(self) -> String {
        format!("{PAGE}#{}", self.name())
    }
}

const PROBLEMS: &str = "Every error is a problem document (RFC 9457, `application/problem+json`). Its `code` is one of \
    those below and stays as it is, while `detail` is for people and may change. There may be more codes later: treat \
    one that you do not know as its status says.";
const FIELDS: &str = "Where fields are wrong, `errors` names all of them at once, each with its `field` (a path such as \
    `location.city`), its own `code`, a `message`, and `allowed` where it is one of a few.";

fn entries() -> [(&'static str, Vec<(&'static str, &'static str)>); 2] {
    let problems = Code::ALL.iter().map(|code| (code.name(), code.meaning())).collect();
    let fields = FieldCode::ALL.iter().map(|code| (code.name(), code.meaning())).collect();
    [(PROBLEMS, problems), (FIELDS, fields)]
}

/// The page as it stands in the documentation (Markdown).
pub fn page_text() -> String {
    let mut page = "# Errors\n".to_owned();
    for (about, entries) in entries() {
        // Writing into a string does not fail.
        let _ = writeln!(page, "\n{about}");
        for (name, meaning) in entries {
            let _ = write!(page, "\n## {name}\n\n{}\n", meaning.trim());
        }
    }
    page
}

/// The page as the server shows it, where each problem's `type` leads to.
pub(crate) async fn page() -> Html<String> {
    let mut page = "<!doctype html><html lang=en><meta charset=utf-8><title>Errors</title>\
        <body style=\"max-width:45em;margin:2em auto;padding:0 1em;font-family:sans-serif\"><h1>Errors</h1>"
        .to_owned();
    for (about, entries) in entries() {
        let _ = write!(page, "<p>{about}</p>");
        for (name, meaning) in entries {
            let _ = write!(page, "<h2 id=\"{name}\">{name}</h2><p>{}</p>", meaning.trim());
        }
    }
    Html(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_an_entry_of_its_own() {
        let names: Vec<_> = entries().into_iter().flat_map(|(_, entries)| entries).collect();
        let distinct: BTreeSet<_> = names.iter().map(|(name, _)| *name).collect();
        assert_eq!(distinct.len(), names.len(), "two entries have one anchor");
        for (name, meaning) in names {
            assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{name}");
            assert!(meaning.trim().len() > 10, "{name} is not explained");
            assert!(!meaning.contains(['<', '&']), "{name} would have to be escaped");
        }
    }
}
