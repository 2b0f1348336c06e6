//! Which pages there are behind links of letters about accounts, and their words in every language.

use super::links::Purpose;
use crate::community::moderation::links;
use crate::email::Language;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountPage {
    /// What a link of a letter opens.
    Link(Purpose),
    /// Where somebody who cannot log in appeals a decision of the moderators.
    Appeal,
    /// Where a link for a new password is asked for.
    ForgotPassword,
}

impl AccountPage {
    /// All pages.
    pub(super) const ALL: [Self; 9] = [
        Self::Link(Purpose::VerifyEmail),
        Self::Link(Purpose::ResetPassword),
        Self::Link(Purpose::ConfirmEmail),
        Self::Link(Purpose::UndoEmail),
        Self::Link(Purpose::UndoDeletion),
        Self::Link(Purpose::EndLogins),
        Self::Link(Purpose::KeepSecondFactor),
        Self::Appeal,
        Self::ForgotPassword,
    ];

    /// Its path below the site.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Link(purpose) => purpose.page(),
            Self::Appeal => links::PAGE,
            Self::ForgotPassword => "forgot-password",
        }
    }
}

/// A heading, and what is said below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
}

const fn notice(title: &'static str, text: &'static str) -> Notice {
    Notice { title, text }
}

/// The words of one page.
#[derive(Debug)]
pub(super) struct PageTexts {
    /// Before anything is done.
    pub(super) ask: Notice,
    /// The label of the button that does it.
    pub(super) button: &'static str,
    /// After it was done.
    pub(super) done: Notice,
}

/// The words of a language.
#[derive(Debug)]
pub(super) struct Texts {
    verify: PageTexts,
    reset: PageTexts,
    confirm: PageTexts,
    undo: PageTexts,
    stay: PageTexts,
    end_logins: PageTexts,
    keep_factor: PageTexts,
    appeal: PageTexts,
    forgot: PageTexts,
    /// The decision was appealed before, or the time to do so is over.
    pub(super) cannot_appeal: Notice,
    pub(super) appeal_text: &'static str,
    pub(super) bad_appeal: &'static str,
    /// The link was used, is too old, or was never made.
    pub(super) dead_link: Notice,
    /// Leads to where another link for a new password is asked for.
    pub(super) another_link: &'static str,
    /// Somebody else has the new address by now.
    pub(super) taken: Notice,
    /// The address of the account was changed too often of late.
    pub(super) changed_too_often: Notice,
    /// The reader's address asks too often.
    pub(super) too_many: Notice,
    /// The body is none that a page of ours sends.
    pub(super) misread: Notice,
    /// The server cannot do it now, or does not know whether it did.
    pub(super) trouble: Notice,
    pub(super) email: &'static str,
    pub(super) bad_email: &'static str,
    pub(super) password: &'static str,
    /// How long a password has to be, from the fewest and the most characters.
    pub(super) password_length: fn(usize, usize) -> String,
    pub(super) password_too_short: fn(usize) -> String,
    pub(super) password_too_long: fn(usize) -> String,
}

impl Texts {
    /// The words in a language.
    pub(super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &ENGLISH,
            Language::Es => &SPANISH,
        }
    }

    /// The words of a page.
    pub(super) const fn page(&self, page: AccountPage) -> &PageTexts {
        match page {
            AccountPage::Link(Purpose::VerifyEmail) => &self.verify,
            AccountPage::Link(Purpose::ResetPassword) => &self.reset,
            AccountPage::Link(Purpose::ConfirmEmail) => &self.confirm,
            AccountPage::Link(Purpose::UndoEmail) => &self.undo,
            AccountPage::Link(Purpose::UndoDeletion) => &self.stay,
            AccountPage::Link(Purpose::EndLogins) => &self.end_logins,
            AccountPage::Link(Purpose::KeepSecondFactor) => &self.keep_factor,
            AccountPage::Appeal => &self.appeal,
            AccountPage::ForgotPassword => &self.forgot,
        }
    }
}

static ENGLISH: Texts = Texts {
    verify: PageTexts {
        ask: notice("Confirm your e-mail address", "Press the button to confirm that the address is yours."),
        button: "Confirm my address",
        done: notice("Your address is confirmed", "Thank you. You can close this page."),
    },
    reset: PageTexts {
        ask: notice("Set a new password", "All devices on which you are logged in will be logged out."),
        button: "Save the new password",
        done: notice(
            "Your new password is saved",
            "All devices are logged out. Log in with the new password.",
        ),
    },
    confirm: PageTexts {
        ask: notice(
            "Confirm your new e-mail address",
            "Your account will have the address that the letter came to, and you will log in with it.",
        ),
        button: "Confirm my new address",
        done: notice(
            "Your new address is confirmed",
            "From now on you log in with it, and letters reach you there.",
        ),
    },
    undo: PageTexts {
        ask: notice(
            "Undo the change of your e-mail address?",
            "Your account gets this address back, all devices are logged out, and the password works no \
             more. Then you get a letter with a link for a new password.",
        ),
        button: "Undo the change",
        done: notice(
            "Your address is back",
            "All devices are logged out, and the old password works no more, as somebody else may know it. A \
             letter with a link for a new password is on its way to you.",
        ),
    },
    stay: PageTexts {
        ask: notice(
            "Keep your account?",
            "Your account will not be deleted, and others see it again. Then you can log in as before.",
        ),
        button: "Keep my account",
        done: notice("Your account stays", "Welcome back. You can log in with your password as before."),
    },
    end_logins: PageTexts {
        ask: notice(
            "Log out all devices?",
            "All devices that are logged in to your account are logged out, this one too.",
        ),
        button: "Log out all devices",
        done: notice(
            "All devices are logged out",
            "Somebody else may know your password: set another one before you log in again.",
        ),
    },
    keep_factor: PageTexts {
        ask: notice(
            "Keep the code at the login?",
            "Logging in goes on asking for a code of your device, or a recovery code.",
        ),
        button: "Keep the code",
        done: notice("The code stays", "If you did not ask for its end, set another password now."),
    },
    appeal: PageTexts {
        ask: notice(
            "Appeal the decision",
            "Say what is wrong with it. You can appeal once, and somebody else than who decided looks at it.",
        ),
        button: "Send my appeal",
        done: notice("Your appeal has arrived", "You get a letter once it is decided, within seven days."),
    },
    cannot_appeal: notice(
        "The decision cannot be appealed now",
        "It was appealed before, or the time to do so is over.",
    ),
    appeal_text: "What is wrong with the decision?",
    bad_appeal: "Write between 1 and 4,000 characters.",
    forgot: PageTexts {
        ask: notice(
            "Forgot your password?",
            "Enter the e-mail address of your account. You get a letter with a link for a new password.",
        ),
        button: "Send me the link",
        done: notice(
            "Look into your mail",
            "If there is an account with this address, a letter with a link is on its way. The link works \
             once and for a short time. Nothing there? Look among the spam, too.",
        ),
    },
    dead_link: notice(
        "This link does not work",
        "It was used already, is too old, or a part of it is missing: open the whole link of the newest \
         letter.",
    ),
    another_link: "Ask for another link",
    taken: notice(
        "Another account has this address",
        "Nothing has changed. You can change your address to another one in your account.",
    ),
    changed_too_often: notice(
        "Your address was changed too often",
        "Nothing has changed now. After some days you can change it again.",
    ),
    too_many: notice("Too many tries", "Nothing was done. Wait a while, then try again."),
    misread: notice("This did not arrive as it should", "Nothing was done. Please try again."),
    trouble: notice("That did not work", "The server cannot do this right now. Try again in a moment."),
    email: "E-mail address",
    bad_email: "This is no whole e-mail address. One looks like ana@example.com.",
    password: "New password",
    password_length: |least, most| format!("From {least} to {most} characters."),
    password_too_short: |least| format!("This password is too short: use at least {least} characters."),
    password_too_long: |most| format!("This password is too long: use at most {most} characters."),
};

static SPANISH: Texts = Texts {
    verify: PageTexts {
        ask: notice(
            "Confirma tu dirección de correo",
            "Pulsa el botón para confirmar que la dirección es tuya.",
        ),
        button: "Confirmar mi dirección",
        done: notice("Tu dirección está confirmada", "Gracias. Ya puedes cerrar esta página."),
    },
    reset: PageTexts {
        ask: notice("Elige una contraseña nueva", "Se cerrará la sesión en todos tus dispositivos."),
        button: "Guardar la contraseña nueva",
        done: notice(
            "Tu contraseña nueva está guardada",
            "Se ha cerrado la sesión en todos tus dispositivos. Entra con la contraseña nueva.",
        ),
    },
    confirm: PageTexts {
        ask: notice(
            "Confirma tu nueva dirección de correo",
            "Tu cuenta tendrá la dirección a la que llegó el mensaje, y entrarás con ella.",
        ),
        button: "Confirmar mi nueva dirección",
        done: notice(
            "Tu nueva dirección está confirmada",
            "A partir de ahora entras con ella, y los mensajes te llegan allí.",
        ),
    },
    undo: PageTexts {
        ask: notice(
            "¿Deshacer el cambio de tu dirección de correo?",
            "Tu cuenta recupera esta dirección, se cierra la sesión en todos los dispositivos y la contraseña \
             deja de funcionar. Después recibirás un mensaje para elegir una nueva.",
        ),
        button: "Deshacer el cambio",
        done: notice(
            "Has recuperado tu dirección",
            "Se ha cerrado la sesión en todos los dispositivos y la contraseña anterior ya no funciona, porque \
             puede que otra persona la conozca. Te llegará un mensaje con un enlace para elegir una nueva.",
        ),
    },
    stay: PageTexts {
        ask: notice(
            "¿Conservar tu cuenta?",
            "Tu cuenta no se borrará y los demás volverán a verla. Después podrás entrar como antes.",
        ),
        button: "Conservar mi cuenta",
        done: notice(
            "Tu cuenta se queda",
            "Nos alegra que sigas. Puedes entrar con tu contraseña como antes.",
        ),
    },
    end_logins: PageTexts {
        ask: notice(
            "¿Cerrar la sesión en todos los dispositivos?",
            "Se cerrará la sesión en todos los dispositivos que han entrado en tu cuenta, también en este.",
        ),
        button: "Cerrar todas las sesiones",
        done: notice(
            "Se ha cerrado la sesión en todos los dispositivos",
            "Puede que otra persona conozca tu contraseña: elige otra antes de volver a entrar.",
        ),
    },
    keep_factor: PageTexts {
        ask: notice(
            "¿Conservar el código al entrar?",
            "Para entrar se seguirá pidiendo un código de tu dispositivo o un código de recuperación.",
        ),
        button: "Conservar el código",
        done: notice("El código se queda", "Si no has pedido que se quite, elige otra contraseña ahora."),
    },
    appeal: PageTexts {
        ask: notice(
            "Apelar la decisión",
            "Cuenta qué está mal. Puedes apelar una vez, y la revisará otra persona, no quien decidió.",
        ),
        button: "Enviar mi apelación",
        done: notice(
            "Tu apelación ha llegado",
            "Recibirás un mensaje cuando se resuelva, dentro de siete días.",
        ),
    },
    cannot_appeal: notice(
        "La decisión no se puede apelar ahora",
        "Ya se apeló, o el plazo para hacerlo ha terminado.",
    ),
    appeal_text: "¿Qué está mal en la decisión?",
    bad_appeal: "Escribe entre 1 y 4000 caracteres.",
    forgot: PageTexts {
        ask: notice(
            "¿Has olvidado tu contraseña?",
            "Escribe la dirección de correo de tu cuenta. Recibirás un mensaje con un enlace para elegir una \
             contraseña nueva.",
        ),
        button: "Enviarme el enlace",
        done: notice(
            "Mira tu correo",
            "Si hay una cuenta con esta dirección, te llegará un mensaje con un enlace. El enlace funciona \
             una sola vez y por poco tiempo. ¿No llega nada? Mira también en el correo no deseado.",
        ),
    },
    dead_link: notice(
        "Este enlace no funciona",
        "Ya se ha usado, es demasiado antiguo o le falta una parte: abre el enlace completo del mensaje más \
         reciente.",
    ),
    another_link: "Pedir otro enlace",
    taken: notice(
        "Otra cuenta tiene esta dirección",
        "No ha cambiado nada. En tu cuenta puedes elegir otra dirección.",
    ),
    changed_too_often: notice(
        "Tu dirección ha cambiado demasiadas veces",
        "No ha cambiado nada ahora. Podrás cambiarla de nuevo dentro de unos días.",
    ),
    too_many: notice("Demasiados intentos", "No se ha hecho nada. Espera un rato e inténtalo de nuevo."),
    misread: notice("Esto no ha llegado como debía", "No se ha hecho nada. Inténtalo de nuevo."),
    trouble: notice(
        "No ha funcionado",
        "El servidor no puede hacerlo ahora mismo. Inténtalo de nuevo dentro de un momento.",
    ),
    email: "Dirección de correo",
    bad_email: "No es una dirección de correo completa, como ana@example.com.",
    password: "Contraseña nueva",
    password_length: |least, most| format!("De {least} a {most} caracteres."),
    password_too_short: |least| format!("La contraseña es demasiado corta: usa al menos {least} caracteres."),
    password_too_long: |most| format!("La contraseña es demasiado larga: usa como máximo {most} caracteres."),
};
