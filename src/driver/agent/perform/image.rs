//! Having an image here, by pull policy.

use k8s_openapi::api::core::v1::Pod;

use super::{Answers, Hands};
use crate::agent::pod::{self, ImageFailure, Pull, PullPolicy};
use crate::agent::pull_secrets::{Login, logins};
use crate::containerd::{Credentials, FindError, Image, PullError, repository_of};
use crate::driver::clock;

/// An image that a container needs.
pub(super) struct Wanted {
    pub(super) container: String,
    pub(super) image: String,
    pub(super) policy: PullPolicy,
}

/// Answers with `ImageReady` or `ImageFailed`, and with `ImagePulling` before a pull.
pub(super) async fn ensure(hands: &Hands, pod: &Pod, wanted: Wanted, answers: &Answers) {
    let Wanted { container, image, policy } = wanted;
    let failed = |reason, message| pod::Input::ImageFailed { container: container.clone(), reason, message };
    let ready = |image: &Image, pulled| pod::Input::ImageReady {
        container: container.clone(),
        image_id: image.id().to_owned(),
        stop_signal: Some(image.config.stop_signal.clone()).filter(|signal| !signal.is_empty()),
        pulled,
    };
    let found = hands.runtime.find_image(&image).await;
    let input = match (found, policy) {
        (Err(FindError::Invalid(error)), _) => failed(ImageFailure::InvalidImageName, error.to_string()),
        (Err(FindError::Runtime(error)), _) => failed(ImageFailure::ErrImagePull, error.to_string()),
        (Ok(Some(image)), PullPolicy::IfNotPresent | PullPolicy::Never) => ready(&image, None),
        (Ok(None), PullPolicy::Never) => failed(
            ImageFailure::ErrImageNeverPull,
            format!("Container image {image:?} is not present with pull policy of Never"),
        ),
        (Ok(_), PullPolicy::Always | PullPolicy::IfNotPresent) => {
            answers.give(pod::Input::ImagePulling { container: container.clone() }).await;
            match pull(hands, pod, &image).await {
                Ok((image, pull)) => ready(&image, Some(pull)),
                Err(message) => failed(ImageFailure::ErrImagePull, message),
            }
        }
    };
    answers.give(input).await;
}

async fn pull(hands: &Hands, pod: &Pod, image: &str) -> Result<(Image, Pull), String> {
    let start = clock::now();
    let (credentials, missing) = credentials(hands, pod, image).await;
    let pulled = pull_with(hands, image, credentials).await.map_err(|error| {
        if missing.is_empty() {
            error.to_string()
        } else {
            format!("{error} (imagePullSecrets not found: {missing})")
        }
    })?;
    let took = clock::now().saturating_since(start);
    let pull = Pull { took, waited: took, size_bytes: pulled.size };
    Ok((pulled, pull))
}

/// Tries one after the other, as the kubelet does; the last error counts.
async fn pull_with(
    hands: &Hands,
    image: &str,
    credentials: Vec<Option<Credentials>>,
) -> Result<Image, PullError> {
    let (last, first) = credentials.split_last().map_or((&None, &[][..]), |(last, first)| (last, first));
    for credentials in first {
        match hands.runtime.pull(image, credentials.as_ref(), &|_| {}).await {
            Err(PullError::Unauthorized { .. } | PullError::NotFound { .. }) => {}
            answer => return answer,
        }
    }
    hands.runtime.pull(image, last.as_ref(), &|_| {}).await
}

/// What the Pod's `imagePullSecrets` have for the image, or none at all; and the names of those that are not there.
async fn credentials(hands: &Hands, pod: &Pod, image: &str) -> (Vec<Option<Credentials>>, String) {
    let names = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let names: Vec<&str> = names.map(|reference| reference.name.as_str()).filter(|n| !n.is_empty()).collect();
    if names.is_empty() {
        return (vec![None], String::new());
    }
    let sources = super::objects(hands, pod).await;
    let known = |name: &&str| sources.secrets.get(*name).and_then(Option::as_deref);
    let secrets: Vec<_> = names.iter().filter_map(known).collect();
    let missing: Vec<&str> = names.iter().filter(|name| known(name).is_none()).copied().collect();
    let found = repository_of(image).map(|repository| logins(&repository, &secrets)).unwrap_or_default();
    let shown = |login| match login {
        Login::Password { username, password } => Credentials::Password { username, password },
        Login::Token(token) => Credentials::Token(token),
    };
    let credentials: Vec<_> = found.into_iter().map(|login| Some(shown(login))).collect();
    (if credentials.is_empty() { vec![None] } else { credentials }, missing.join(", "))
}
