//! Passwords: argon2id on a bounded number of threads, so that a crowd at the door does not take the whole machine.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use mundotango_gateway::problem::Problem;
use tokio::sync::Semaphore;

/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Logins that wait for each one whose password is being hashed. More would wait in vain.
const WAITING_FOR_EACH: usize = 64;

/// Hashes and verifies passwords.
pub struct Passwords {
    places: Arc<Semaphore>,
    /// Places for those that wait, and for those whose password is being hashed.
    queue: Arc<Semaphore>,
    /// Stands for the hash of a user that does not exist, so that both cases take the same time.
    nobody: Arc<str>,
}

impl Passwords {
    /// At most `concurrency` passwords are hashed at the same time.
    pub fn new(concurrency: usize) -> anyhow::Result<Self> {
        let nobody = hash(mundotango_protocol::new_id().as_bytes())
            .map_err(|error| anyhow::anyhow!("passwords cannot be hashed: {error}"))?;
        let queue = Arc::new(Semaphore::new(concurrency.saturating_mul(1 + WAITING_FOR_EACH)));
        Ok(Self { places: Arc::new(Semaphore::new(concurrency)), queue, nobody: nobody.into() })
    }

    /// A hash in PHC form, with a salt of its own.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.run(move || hash(password.as_bytes())).await?.map_err(|error| Problem::internal(&error))
    }

    /// Whether a password is the one of a hash; never, but in the same time, where there is no hash.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let nobody = Arc::clone(&self.nobody);
        self.run(move || {
            let known = hash.is_some();
            let text = hash.as_deref().unwrap_or(&nobody);
            let matches = PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            known && matches
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let too_many = || Problem::unavailable("too many are logging in");
        let in_queue = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| too_many())?;
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| too_many())?
            .map_err(|error| Problem::internal(&error))?;
        let work = move || {
            let outcome = work();
            drop((place, in_queue));
            outcome
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
    }
}

/// argon2id with the crate's defaults: 19 MiB, two passes, one lane, as OWASP's password storage sheet has it.
fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(password)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn knows_the_password_again_and_nobodys_never() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash("abrazo-1234".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("abrazo-1234".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("abrazo-1235".to_owned(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("abrazo-1234".to_owned(), None).await.unwrap());
    }

    #[tokio::test]
    async fn who_would_wait_in_vain_is_told_at_once() {
        let passwords = Arc::new(Passwords::new(1).unwrap());
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let (going_on, is_going_on) = tokio::sync::oneshot::channel();
        let slow = tokio::spawn({
            let passwords = Arc::clone(&passwords);
            async move {
                let work = move || {
                    let _ = going_on.send(());
                    let _ = wait.recv();
                };
                passwords.run(work).await
            }
        });
        is_going_on.await.unwrap();
        let waiting: Vec<_> = (0..WAITING_FOR_EACH)
            .map(|_| {
                let passwords = Arc::clone(&passwords);
                tokio::spawn(async move { passwords.run(|| ()).await })
            })
            .collect();
        while passwords.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.run(|| ()).await.unwrap_err().status().as_u16(), 503);
        drop(started);
        assert!(slow.await.unwrap().is_ok());
        for one in waiting {
            assert!(one.await.unwrap().is_ok());
        }
    }
}
