//! Letters about decisions of the moderators: what was decided, by which rule, why, until when, and how to appeal; and what came of an
//! appeal. Nobody can unsubscribe from these.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::events::letter;
use super::{Letters, Own};
use crate::community::accounts::restrictions::Ability;
use crate::community::admin::reviews::case::{Outcome, Rule, Ruling};
use crate::community::effects::Effect;
use crate::community::moderation::links::{self, AppealLink};
use crate::email::{Language, Letter};

/// To somebody about whom something was decided.
static DECISION: JobKind<OfDecision> = letter("decision_letter").useless_after(Duration::from_hours(14 * 24));

#[derive(Debug, Serialize, Deserialize)]
struct OfDecision {
    case_id: String,
    /// Whether it tells what came of the appeal.
    judged: bool,
}

/// The letter that tells a user of a decision, or of what came of the appeal against it.
pub(in crate::community) fn told(case_id: &str, judged: bool) -> Result<Effect, StoreError> {
    let payload = OfDecision { case_id: case_id.to_owned(), judged };
    Ok(Effect::job(DECISION.job(&payload)?.group(case_id)))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&DECISION, Own(Arc::clone(letters)))
}

#[async_trait]
impl Handler<OfDecision> for Own {
    async fn run(&self, attempted: &Attempted, job: OfDecision) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(case) = letters.reviews.case(&job.case_id).await? else { return Ok(()) };
        let (Some((outcome, ruling, said)), Some(user)) = (case.own.effective(), case.facts.subject()) else {
            return Ok(());
        };
        let Some(reader) = letters.reader(user).await? else { return Ok(()) };
        let mut url = format!("{}/moderation/decisions/{}", letters.public_url, case.id);
        let letter = if job.judged {
            let judged = case.own.appeal.as_ref().and_then(|appeal| appeal.judged.as_ref());
            let Some(judged) = judged else { return Ok(()) };
            Letter::AppealDecided {
                name: reader.name(),
                upheld: judged.upheld,
                reason: judged.said.reason.clone(),
                url,
            }
        } else {
            let locked_out = outcome == Outcome::Lock;
            if locked_out {
                // Who cannot log in appeals by the link. Its seal is made when the letter is sent, so no queue has it.
                let link = AppealLink { decision: case.id.clone(), user_id: user.to_owned() };
                let token = link.sealed(&letters.tokens).map_err(Failure::retry)?;
                url = format!("{}/{}?token={token}", letters.public_url, links::PAGE);
            }
            let day = |at: Timestamp| {
                let date = at.to_zoned_datetime(TimeZone::UTC).date();
                letters.dates.days(date, date, reader.language)
            };
            Letter::Decision {
                name: reader.name(),
                what: what_of(outcome, ruling, reader.language),
                rule: rule_of(ruling.rule, reader.language).to_owned(),
                reason: said.reason.clone(),
                until: ruling.until.map(day),
                appeal_until: day(ruling.appeal_until),
                locked_out,
                url,
            }
        };
        letters.send(attempted, &reader, &letter).await
    }
}

/// What was decided, as a sentence.
fn what_of(outcome: Outcome, ruling: &Ruling, language: Language) -> String {
    let abilities = || {
        let names: Vec<_> = ruling.abilities.iter().map(|ability| ability_of(*ability, language)).collect();
        names.join(", ")
    };
    match (language, outcome) {
        (Language::En, Outcome::None) => "Nothing follows.".to_owned(),
        (Language::En, Outcome::Warn) => "This is a warning.".to_owned(),
        (Language::En, Outcome::Remove) => "Something that you wrote is taken away.".to_owned(),
        (Language::En, Outcome::Restrict) => format!("For a time you cannot do this: {}.", abilities()),
        (Language::En, Outcome::Lock) => "Your account is locked.".to_owned(),
        (Language::Es, Outcome::None) => "No hay consecuencias.".to_owned(),
        (Language::Es, Outcome::Warn) => "Esto es una advertencia.".to_owned(),
        (Language::Es, Outcome::Remove) => "Se retiró algo que escribiste.".to_owned(),
        (Language::Es, Outcome::Restrict) => {
            format!("Por un tiempo no puedes hacer lo siguiente: {}.", abilities())
        }
        (Language::Es, Outcome::Lock) => "Tu cuenta está bloqueada.".to_owned(),
    }
}

fn ability_of(ability: Ability, language: Language) -> &'static str {
    match (language, ability) {
        (Language::En, Ability::Posting) => "write posts",
        (Language::En, Ability::Commenting) => "write comments",
        (Language::En, Ability::Messaging) => "write messages",
        (Language::En, Ability::Hosting) => "give events and offer places to stay",
        (Language::Es, Ability::Posting) => "publicar",
        (Language::Es, Ability::Commenting) => "comentar",
        (Language::Es, Ability::Messaging) => "escribir mensajes",
        (Language::Es, Ability::Hosting) => "organizar eventos y ofrecer alojamiento",
    }
}

fn rule_of(rule: Rule, language: Language) -> &'static str {
    match (language, rule) {
        (Language::En, Rule::Spam) => "No advertising again and again",
        (Language::En, Rule::Harassment) => "Nobody is insulted, threatened or pursued",
        (Language::En, Rule::Hate) => "No hatred of people for what they are",
        (Language::En, Rule::Violence) => "No violence, and no calls for it",
        (Language::En, Rule::Sexual) => "Nothing sexual without everybody's wish",
        (Language::En, Rule::Fraud) => "Nobody is cheated",
        (Language::En, Rule::Impersonation) => "Nobody pretends to be somebody else",
        (Language::En, Rule::Privacy) => "What is private of others stays private",
        (Language::En, Rule::Illegal) => "Nothing that the law forbids",
        (Language::En, Rule::Other) => "Something else that does harm",
        (Language::Es, Rule::Spam) => "Nada de publicidad repetida",
        (Language::Es, Rule::Harassment) => "Nadie insulta, amenaza ni acosa",
        (Language::Es, Rule::Hate) => "Nada de odio contra nadie por lo que es",
        (Language::Es, Rule::Violence) => "Nada de violencia ni de llamados a ella",
        (Language::Es, Rule::Sexual) => "Nada sexual sin el deseo de todas las personas",
        (Language::Es, Rule::Fraud) => "Nadie estafa",
        (Language::Es, Rule::Impersonation) => "Nadie se hace pasar por otra persona",
        (Language::Es, Rule::Privacy) => "Lo privado de los demás sigue siendo privado",
        (Language::Es, Rule::Illegal) => "Nada que la ley prohíba",
        (Language::Es, Rule::Other) => "Otra cosa que hace daño",
    }
}
