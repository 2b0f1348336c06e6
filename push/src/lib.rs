//! Push messages: the last step from a payload to the service that wakes up a device.
//!
//! A [`Pusher`] hands one [`Push`] to one [`Destination`]: a browser by web push (RFC 8030, 8291, 8292), an
//! Android device by Firebase Cloud Messaging (FCM), an Apple device by Apple's service (APNs). It tries
//! once. A [`PushError`] says what the caller does next: delete the destination, drop the message, try later,
//! or leave the whole service alone for a while. Who is pushed to, when and how often is not decided here.
//!
//! Endpoints of web push are addresses that users give to the node. They are reached only by https on port
//! 443, in public networks, and without redirects, so that nobody reaches the node's own network through
//! them.

mod apns;
mod destination;
mod doubts;
mod endpoint;
mod error;
mod fcm;
mod http;
mod options;
mod push;
mod pusher;
mod subscription;
mod web;

pub use destination::{Destination, DeviceToken, DeviceTokenError, Provider};
pub use endpoint::EndpointError;
pub use error::{PushError, SetupError};
pub use options::{ApnsOptions, FcmOptions, PushOptions};
pub use push::{MAX_PAYLOAD, MAX_TTL, Push, Topic, TopicError, Urgency};
pub use pusher::Pusher;
pub use subscription::{PublicKey, SubscriptionError, WebSubscription};
pub use web::{VapidError, VapidKeys};
