//! As whom a container's first process runs.

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};
use oci_spec::runtime::User;

use super::{SpecError, SpecRequest};

/// The effective security settings: the container's own, else the Pod's.
pub(super) struct Effective<'a> {
    pub(super) container: Option<&'a SecurityContext>,
    pub(super) pod: Option<&'a PodSecurityContext>,
}

impl<'a> Effective<'a> {
    pub(super) fn of(pod: &'a Pod, container: &'a Container) -> Self {
        let pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        Self { container: container.security_context.as_ref(), pod }
    }

    fn run_as_user(&self) -> Option<i64> {
        self.container.and_then(|c| c.run_as_user).or_else(|| self.pod.and_then(|p| p.run_as_user))
    }

    fn run_as_group(&self) -> Option<i64> {
        self.container.and_then(|c| c.run_as_group).or_else(|| self.pod.and_then(|p| p.run_as_group))
    }

    fn run_as_non_root(&self) -> bool {
        let own = self.container.and_then(|c| c.run_as_non_root);
        own.or_else(|| self.pod.and_then(|p| p.run_as_non_root)).unwrap_or(false)
    }

    pub(super) fn privileged(&self) -> bool {
        self.container.and_then(|c| c.privileged).unwrap_or(false)
    }
}

/// What an image's `USER` says, before the colon.
enum ImageUser<'a> {
    Id(u32),
    Name(&'a str),
}

/// The user: `runAsUser` and `runAsGroup`, else the image's; supplementary groups from the image, the Pod's
/// `supplementalGroups` and `fsGroup`.
pub(super) fn user(request: &SpecRequest<'_>) -> Result<User, SpecError> {
    let effective = Effective::of(request.pod, request.container);
    let (image_user, image_group) = match request.image.user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (request.image.user.as_str(), ""),
    };
    let image_user = match (image_user.parse(), image_user) {
        (Ok(uid), _) => ImageUser::Id(uid),
        (Err(_), "") => ImageUser::Id(0),
        (Err(_), name) => ImageUser::Name(name),
    };
    if effective.run_as_non_root() {
        check_non_root(request, effective.run_as_user(), &image_user)?;
    }
    let given = effective.run_as_user().map(|uid| id("runAsUser", uid)).transpose()?;
    let account = match (given, image_user) {
        (Some(uid), _) | (None, ImageUser::Id(uid)) => Account::by_id(request, uid),
        (None, ImageUser::Name(name)) => Account::by_name(request, name)?,
    };
    let gid = match effective.run_as_group() {
        Some(gid) => id("runAsGroup", gid)?,
        None if given.is_none() && !image_group.is_empty() => group(request, image_group)?,
        None => account.gid,
    };
    let mut user = User::default();
    user.set_uid(account.uid);
    user.set_gid(gid);
    user.set_additional_gids(Some(supplementary(request, &effective, &account, gid)?));
    Ok(user)
}

struct Account {
    uid: u32,
    gid: u32,
    name: Option<String>,
}

impl Account {
    /// An id the image does not know has group 0.
    fn by_id(request: &SpecRequest<'_>, uid: u32) -> Self {
        let known = request.accounts.user_by_id(uid);
        Self { uid, gid: known.map_or(0, |user| user.gid), name: known.map(|user| user.name.clone()) }
    }

    fn by_name(request: &SpecRequest<'_>, name: &str) -> Result<Self, SpecError> {
        let unknown = || SpecError::UnknownUser { name: name.to_owned(), file: "passwd" };
        let user = request.accounts.user_by_name(name).ok_or_else(unknown)?;
        Ok(Self { uid: user.uid, gid: user.gid, name: Some(user.name.clone()) })
    }
}

fn group(request: &SpecRequest<'_>, name: &str) -> Result<u32, SpecError> {
    let unknown = || SpecError::UnknownUser { name: name.to_owned(), file: "group" };
    name.parse().ok().or_else(|| request.accounts.group_by_name(name)).ok_or_else(unknown)
}

fn supplementary(
    request: &SpecRequest<'_>,
    effective: &Effective<'_>,
    account: &Account,
    gid: u32,
) -> Result<Vec<u32>, SpecError> {
    let mut gids = vec![gid];
    let strict = effective.pod.and_then(|pod| pod.supplemental_groups_policy.as_deref()) == Some("Strict");
    if let Some(name) = account.name.as_deref().filter(|_| !strict) {
        gids.extend(request.accounts.groups_of(name));
    }
    if let Some(pod) = effective.pod {
        gids.extend(ids("supplementalGroups", pod.supplemental_groups.iter().flatten())?);
        gids.extend(ids("fsGroup", &pod.fs_group)?);
    }
    let mut seen = Vec::new();
    gids.retain(|gid| {
        !seen.contains(gid) && {
            seen.push(*gid);
            true
        }
    });
    Ok(gids)
}

fn ids<'a>(field: &'static str, values: impl IntoIterator<Item = &'a i64>) -> Result<Vec<u32>, SpecError> {
    values.into_iter().map(|value| id(field, *value)).collect()
}

fn id(field: &'static str, value: i64) -> Result<u32, SpecError> {
    u32::try_from(value).map_err(|_| SpecError::Field {
        field: format!("securityContext.{field}"),
        why: format!("{value}: expected 0 to {}", u32::MAX),
    })
}

/// In upstream's words, since people search for them.
fn check_non_root(
    request: &SpecRequest<'_>,
    run_as_user: Option<i64>,
    image_user: &ImageUser<'_>,
) -> Result<(), SpecError> {
    let metadata = &request.pod.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let pod = format!("{}_{}({})", part(&metadata.name), part(&metadata.namespace), part(&metadata.uid));
    let whom = format!("(pod: {pod:?}, container: {})", request.container.name);
    let why = match (run_as_user, image_user) {
        (Some(0), _) => "container's runAsUser breaks non-root policy".to_owned(),
        (None, ImageUser::Id(0)) => "container has runAsNonRoot and image will run as root".to_owned(),
        (None, ImageUser::Name(name)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        ),
        (Some(_), _) | (None, ImageUser::Id(_)) => return Ok(()),
    };
    Err(SpecError::NonRoot(format!("{why} {whom}")))
}
