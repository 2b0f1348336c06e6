//! The pages behind links of letters about accounts, for sites without a front end of their own.
//!
//! Opening a page changes nothing and looks at nothing, as mail filters open links too. Its button posts to
//! the page's own address, and does what the API's route does. What a client sends is never in a page.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use deserr::Deserr;
use mundotango_gateway::input::{self, BadFields};
use mundotango_gateway::problem::{FieldCode, Problem};
use serde_json::Value;
use url::form_urlencoded;

use super::email::not_good;
use super::links::Purpose;
use super::page_texts::{AccountPage, Notice, Texts};
use crate::community::Community;
use crate::community::limits::Address;
use crate::email::Language;
use crate::email::page::{self, Field, Form, Link, Page};
use crate::texts::{AppealText, EmailAddress, LinkToken, NewPassword};

type Shared = State<Arc<Community>>;

/// The longest form that is read, in bytes: the longest appeal in its longest encoding is 48 kB.
const MAX_FORM_BYTES: usize = 50 * 1024;
/// Fields of forms.
const EMAIL: &str = "email";
const PASSWORD: &str = "password";
const TEXT: &str = "text";

/// The pages' routes. They are for people, so the API's document does not have them.
pub(super) fn router() -> Router<Arc<Community>> {
    let routes = AccountPage::ALL.into_iter().fold(Router::new(), |routes, page| {
        let show = move |headers: HeaderMap| async move { View::of(page, &headers).question() };
        let send = move |State(community): Shared,
                         RawQuery(query): RawQuery,
                         headers: HeaderMap,
                         client: Address,
                         body: Result<Bytes, BytesRejection>| async move {
            let view = View::of(page, &headers);
            let done = match fields(&headers, body) {
                Ok(fields) => community.carry_out(page, query.as_deref(), &fields, &client).await,
                Err(problem) => Err(problem),
            };
            done.map_or_else(|problem| view.refusal(problem), |()| view.done())
        };
        routes.route(&format!("/{}", page.name()), get(show).post(send))
    });
    routes.layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

impl Community {
    /// Does what the button of a page is for.
    async fn carry_out(
        &self,
        page: AccountPage,
        query: Option<&str>,
        fields: &Fields,
        client: &Address,
    ) -> Result<(), Problem> {
        match page {
            AccountPage::Link(Purpose::VerifyEmail) => self.verify_email(token(query)?).await,
            AccountPage::Link(Purpose::ResetPassword) => {
                self.reset_password(token(query)?, read::<NewPassword>(fields, PASSWORD)?).await
            }
            AccountPage::Link(Purpose::ConfirmEmail) => self.confirm_email(token(query)?).await,
            AccountPage::Link(Purpose::UndoEmail) => self.undo_email_change(token(query)?).await,
            AccountPage::Link(Purpose::UndoDeletion) => self.undo_deletion(token(query)?).await,
            AccountPage::Link(Purpose::EndLogins) => self.end_logins_by_link(token(query)?).await,
            AccountPage::Link(Purpose::KeepSecondFactor) => self.keep_second_factor(token(query)?).await,
            AccountPage::Appeal => {
                self.appeal_by_link(token(query)?, read::<AppealText>(fields, TEXT)?).await
            }
            AccountPage::ForgotPassword => {
                self.mail_password_link(client, read::<EmailAddress>(fields, EMAIL)?).await
            }
        }
    }
}

/// A form's fields by name.
type Fields = BTreeMap<String, String>;

/// Reads a form.
fn fields(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Fields, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    // A form without fields has an empty body, of whatever type.
    if !body.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be a form"));
    }
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}

/// Reads a field by the rules that the API has for it. One that is missing is empty.
fn read<T: Deserr<BadFields>>(fields: &Fields, name: &str) -> Result<T, Problem> {
    input::read_value(Value::String(fields.get(name).cloned().unwrap_or_default()))
}

/// The token of the link that opened the page. Mail services add parameters of their own to links.
fn token(query: Option<&str>) -> Result<LinkToken, Problem> {
    let mut parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let token = parameters.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
    input::read_value(Value::String(token.unwrap_or_default())).map_err(|_| not_good())
}

/// A page for one reader.
#[derive(Clone, Copy, Debug)]
struct View {
    page: AccountPage,
    language: Language,
}

impl View {
    fn of(page: AccountPage, headers: &HeaderMap) -> Self {
        Self { page, language: page::language(headers) }
    }

    fn texts(self) -> &'static Texts {
        Texts::of(self.language)
    }

    /// What the button does, and the button.
    fn question(self) -> Response {
        self.with_form(StatusCode::OK, self.texts().page(self.page).ask, None)
    }

    fn done(self) -> Response {
        self.without_form(StatusCode::OK, self.texts().page(self.page).done, None)
    }

    /// What was not done, with the status and the `Retry-After` of the problem, and the form where another
    /// try may help.
    fn refusal(self, problem: Problem) -> Response {
        let texts = self.texts();
        let wrong = problem.errors().first().map(|error| error.code);
        let (parts, _) = problem.into_response().into_parts();
        let status = parts.status;
        let mut response = match (status, wrong) {
            (StatusCode::BAD_REQUEST, Some(wrong)) => {
                self.with_form(status, texts.page(self.page).ask, Some(wrong))
            }
            (StatusCode::CONFLICT, Some(_)) => self.without_form(status, texts.taken, None),
            (StatusCode::CONFLICT, None) if self.page == AccountPage::Link(Purpose::ConfirmEmail) => {
                self.without_form(status, texts.changed_too_often, None)
            }
            (StatusCode::CONFLICT, None) if self.page == AccountPage::Appeal => {
                self.without_form(status, texts.cannot_appeal, None)
            }
            (StatusCode::GONE, _) => {
                let link = Link { to: AccountPage::ForgotPassword.name(), label: texts.another_link };
                let is_of_password = self.page == AccountPage::Link(Purpose::ResetPassword);
                self.without_form(status, texts.dead_link, Some(link).filter(|_| is_of_password))
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => self.with_form(status, texts.too_many, None),
            (
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE,
                None,
            ) => self.with_form(status, texts.misread, None),
            _ => self.with_form(status, texts.trouble, None),
        };
        if let Some(wait) = parts.headers.get(RETRY_AFTER) {
            response.headers_mut().insert(RETRY_AFTER, wait.clone());
        }
        response
    }

    /// A page with its form, which says what was wrong with the field.
    fn with_form(self, status: StatusCode, notice: Notice, wrong: Option<FieldCode>) -> Response {
        let texts = self.texts();
        let note = self.note(wrong);
        let field = |name, label, autocomplete, min_length| Field {
            name,
            label,
            // Most fields have the name of their type.
            kind: name,
            autocomplete,
            min_length,
            note: note.as_deref(),
            is_wrong: wrong.is_some(),
        };
        let field = match self.page {
            AccountPage::Link(Purpose::ResetPassword) => {
                Some(field(PASSWORD, texts.password, "new-password", Some(NewPassword::MIN_CHARACTERS)))
            }
            AccountPage::ForgotPassword => Some(field(EMAIL, texts.email, "email", None)),
            AccountPage::Appeal => {
                Some(Field { kind: "textarea", ..field(TEXT, texts.appeal_text, "off", None) })
            }
            AccountPage::Link(_) => None,
        };
        let form = Form { field, button: texts.page(self.page).button, sends: None };
        self.answer(status, notice, Some(form), None)
    }

    fn without_form(self, status: StatusCode, notice: Notice, link: Option<Link<'_>>) -> Response {
        self.answer(status, notice, None, link)
    }

    fn answer(
        self,
        status: StatusCode,
        Notice { title, text }: Notice,
        form: Option<Form<'_>>,
        link: Option<Link<'_>>,
    ) -> Response {
        let page = Page { language: self.language, title, paragraphs: &[text], form, link };
        page::response(status, page.html())
    }

    /// What is said beside the field: what it may hold, or what was wrong.
    fn note(self, wrong: Option<FieldCode>) -> Option<String> {
        let texts = self.texts();
        let (least, most) = (NewPassword::MIN_CHARACTERS, NewPassword::MAX_CHARACTERS);
        match (self.page, wrong) {
            (AccountPage::Link(Purpose::ResetPassword), Some(FieldCode::TooShort)) => {
                Some((texts.password_too_short)(least))
            }
            (AccountPage::Link(Purpose::ResetPassword), Some(FieldCode::TooLong)) => {
                Some((texts.password_too_long)(most))
            }
            (AccountPage::Link(Purpose::ResetPassword), _) => Some((texts.password_length)(least, most)),
            (AccountPage::ForgotPassword, Some(_)) => Some(texts.bad_email.to_owned()),
            (AccountPage::Appeal, Some(_)) => Some(texts.bad_appeal.to_owned()),
            (AccountPage::Appeal | AccountPage::ForgotPassword | AccountPage::Link(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use mundotango_storage::StoreError;

    use super::*;

    const RESET: AccountPage = AccountPage::Link(Purpose::ResetPassword);

    async fn html(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    fn form_of(kind: &'static str, body: &'static str) -> Result<Fields, Problem> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        fields(&headers, Ok(Bytes::from_static(body.as_bytes())))
    }

    #[tokio::test]
    async fn every_page_says_something_else_in_every_language() {
        let mut seen = BTreeSet::new();
        for language in Language::ALL {
            for page in AccountPage::ALL {
                let view = View { page, language };
                let (question, done) = (html(view.question()).await, html(view.done()).await);
                let lang = format!("<html lang=\"{}\"", language.tag());
                assert!(question.contains(&lang) && done.contains(&lang), "{question}{done}");
                assert!(question.contains("<form method=\"post\">"), "{question}");
                assert!(!done.contains("<form"), "{done}");
                assert!(seen.insert(question) && seen.insert(done), "{view:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_status_and_offers_another_try_where_that_may_help() {
        let unavailable = || Problem::from(StoreError::Unavailable("away".to_owned()));
        let unknown = || Problem::from(StoreError::Unknown("lost".to_owned()));
        let too_many = || Problem::too_many_requests("too many").with_retry_after(Duration::from_secs(99));
        let large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "large");
        for (problem, status, wait, has_form) in [
            (not_good(), 410, None, false),
            (Problem::taken(["email"]), 409, None, false),
            (too_many(), 429, Some("100"), true),
            (unavailable(), 503, Some("2"), true),
            (unknown(), 503, None, true),
            (large(), 413, None, true),
        ] {
            for page in AccountPage::ALL {
                let refusal = View { page, language: Language::Es }.refusal(problem.clone());
                assert_eq!(refusal.status().as_u16(), status);
                let told = refusal.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned());
                assert_eq!(told.as_deref(), wait, "{status}");
                let page = html(refusal).await;
                assert_eq!(page.contains("<form"), has_form, "{page}");
                assert!(page.contains("<html lang=\"es\""), "{page}");
            }
        }
        let confirm = View { page: AccountPage::Link(Purpose::ConfirmEmail), language: Language::En };
        let too_often = html(confirm.refusal(Problem::new(StatusCode::CONFLICT, "too often"))).await;
        assert!(too_often.contains("changed too often") && !too_often.contains("<form"), "{too_often}");
        let dead = html(View { page: RESET, language: Language::En }.refusal(not_good())).await;
        assert!(dead.contains("<a href=\"forgot-password\">Ask for another link</a>"), "{dead}");
    }

    #[tokio::test]
    async fn a_field_is_read_by_the_rules_of_the_api_and_says_what_is_wrong() {
        let view = |page| View { page, language: Language::En };
        for (page, name, value, note) in [
            (RESET, PASSWORD, "short".to_owned(), "use at least 8 characters"),
            (RESET, PASSWORD, String::new(), "use at least 8 characters"),
            (RESET, PASSWORD, "ñ".repeat(129), "use at most 128 characters"),
            (AccountPage::ForgotPassword, EMAIL, "ana".to_owned(), "no whole e-mail address"),
            (AccountPage::ForgotPassword, EMAIL, String::new(), "no whole e-mail address"),
        ] {
            let given = Fields::from([(name.to_owned(), value.clone())]);
            let problem = match page {
                RESET => read::<NewPassword>(&given, name).unwrap_err(),
                _ => read::<EmailAddress>(&given, name).unwrap_err(),
            };
            let refusal = view(page).refusal(problem);
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
            let page = html(refusal).await;
            assert!(page.contains(note) && page.contains("aria-invalid"), "{page}");
            assert!(value.is_empty() || !page.contains(&format!("\"{value}\"")), "{page}");
        }
        let empty = Fields::new();
        assert!(read::<NewPassword>(&empty, PASSWORD).is_err());
        let page = html(view(RESET).question()).await;
        assert!(page.contains("From 8 to 128 characters.") && page.contains("minlength=\"8\""), "{page}");
        assert!(page.contains("type=\"password\" autocomplete=\"new-password\""), "{page}");
        let page = html(view(AccountPage::ForgotPassword).question()).await;
        assert!(page.contains("type=\"email\" autocomplete=\"email\""), "{page}");
        let page = html(view(AccountPage::Appeal).question()).await;
        assert!(page.contains("<textarea id=\"text\" name=\"text\"") && !page.contains("<input"), "{page}");
    }

    #[test]
    fn only_forms_are_read() {
        let read =
            form_of("application/x-www-form-urlencoded; charset=utf-8", "password=a+%26%C3%B1&x").unwrap();
        assert_eq!(read["password"], "a &ñ");
        assert!(form_of("", "").unwrap().is_empty());
        for kind in ["", "text/plain", "application/json", "multipart/form-data; boundary=b"] {
            let problem = form_of(kind, "password=abrazo-1234").unwrap_err();
            assert_eq!(problem.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
        }
    }

    #[test]
    fn the_token_of_a_link_is_found_among_other_parameters() {
        for query in ["token=verify~1~2~s", "utm_source=x&token=verify~1~2~s", "token=verify%7E1~2~s&x"] {
            assert_eq!(token(Some(query)).unwrap().into_string(), "verify~1~2~s", "{query}");
        }
        let long = format!("token={}", "x".repeat(257));
        for query in [None, Some(""), Some("token"), Some("token=%20"), Some("x=1"), Some(long.as_str())] {
            assert_eq!(token(query).unwrap_err().status(), StatusCode::GONE, "{query:?}");
        }
    }
}
