//! Having an image here, by pull policy.

use super::{Answers, Hands};
use crate::agent::pod::{self, ImageFailure, Pull, PullPolicy};
use crate::containerd::{FindError, Image, PullError};
use crate::driver::clock;

/// Answers with `ImageReady` or `ImageFailed`, and with `ImagePulling` before a pull.
pub(super) async fn ensure(
    hands: &Hands,
    container: String,
    image: String,
    policy: PullPolicy,
    answers: &Answers,
) {
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
            match pull(hands, &image).await {
                Ok((image, pull)) => ready(&image, Some(pull)),
                Err(error) => failed(ImageFailure::ErrImagePull, error.to_string()),
            }
        }
    };
    answers.give(input).await;
}

async fn pull(hands: &Hands, image: &str) -> Result<(Image, Pull), PullError> {
    let start = clock::now();
    let pulled = hands.runtime.pull(image, None, &|_| {}).await?;
    let took = clock::now().saturating_since(start);
    let pull = Pull { took, waited: took, size_bytes: pulled.size };
    Ok((pulled, pull))
}
