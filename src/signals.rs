//! The signals that operators and service managers send, and what each means here.
//!
//! SIGTERM and SIGINT end the node in order, a second one at once. SIGHUP reads the log filter, the sizes of
//! the pools of workers and the certificate again, which can change without a restart.
//! SIGUSR1 and SIGUSR2 mean nothing, and SIGPIPE is ignored by Rust's own start: none of the three ends the node.

use std::sync::Arc;

use mundotango_gateway::Certificates;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;

use crate::config::{Config, ConfigSource};
use crate::service_manager::ServiceManager;

/// The signals that end a node.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    others: Option<Others>,
    attending: Option<AbortHandle>,
}

struct Others {
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// From now on no signal ends the process by itself.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let others = Others {
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            others: Some(others),
            attending: None,
        })
    }

    /// Attends to the signals that do not end the node, for as long as this is held. `reloaded` is told of a configuration that
    /// was read again.
    pub(crate) fn attend(
        &mut self,
        source: ConfigSource,
        certificates: Option<Arc<Certificates>>,
        manager: ServiceManager,
        reloaded: impl Fn(&Config) + Send + 'static,
    ) {
        if let Some(others) = self.others.take() {
            let attending = others.attend(source, certificates, manager, reloaded);
            self.attending = Some(tokio::spawn(attending).abort_handle());
        }
    }

    /// The next signal that ends the node.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(attending) = &self.attending {
            attending.abort();
        }
    }
}

impl Others {
    async fn attend(
        mut self,
        source: ConfigSource,
        certificates: Option<Arc<Certificates>>,
        manager: ServiceManager,
        reloaded: impl Fn(&Config),
    ) {
        loop {
            tokio::select! {
                Some(()) = self.hang_up.recv() => {
                    manager.reloading();
                    reload(&source, &reloaded);
                    reload_certificates(certificates.as_deref());
                    manager.ready();
                }
                Some(()) = self.user_1.recv() => tracing::info!("SIGUSR1 means nothing here"),
                Some(()) = self.user_2.recv() => tracing::info!("SIGUSR2 means nothing here"),
                else => return,
            }
        }
    }
}

fn reload(source: &ConfigSource, reloaded: impl Fn(&Config)) {
    let read = source.load().and_then(|config| {
        mundotango_ops::set_log_filter(&config.log.filter)?;
        reloaded(&config);
        Ok(config)
    });
    match read {
        Ok(Config { log, jobs, .. }) => {
            tracing::info!(filter = log.filter, ?jobs, "SIGHUP: log.filter and [jobs] read again");
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "SIGHUP: configuration not usable, the one before stays");
        }
    }
}

fn reload_certificates(certificates: Option<&Certificates>) {
    match certificates.map(Certificates::reload) {
        None => {}
        Some(Ok(())) => tracing::info!("SIGHUP: certificate read again"),
        Some(Err(error)) => tracing::error!(%error, "SIGHUP: certificate not usable, the one before stays"),
    }
}
