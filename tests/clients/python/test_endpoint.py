"""What programs written with the official client do with the endpoint alone."""

import unittest
import uuid

from kubernetes import client, config, dynamic, watch
from kubernetes.client import ApiException

config.load_kube_config()
META = client.V1ObjectMeta


def template(name):
    container = client.V1Container(name="main", image="example.org/app:1", command=["sleep", "1000"])
    return client.V1PodTemplateSpec(
        metadata=META(labels={"app": name}), spec=client.V1PodSpec(containers=[container])
    )


class Case(unittest.TestCase):
    """Each test has a namespace of its own."""

    def setUp(self):
        self.core, self.apps, self.batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
        self.namespace = f"t-{uuid.uuid4().hex[:8]}"
        self.core.create_namespace(client.V1Namespace(metadata=META(name=self.namespace)))
        # A steward would make it, and none is here.
        account = client.V1ServiceAccount(metadata=META(name="default"))
        self.core.create_namespaced_service_account(self.namespace, account)

    def refused(self, code, reason, call, *args, **kwargs):
        with self.assertRaises(ApiException) as caught:
            call(*args, **kwargs)
        self.assertEqual((caught.exception.status, caught.exception.reason), (code, reason))
        return caught.exception.body


class Objects(Case):
    def test_config_map_lives_its_life(self):
        body = client.V1ConfigMap(metadata=META(name="a", labels={"x": "y"}), data={"k": "v"})
        made = self.core.create_namespaced_config_map(self.namespace, body)
        self.assertEqual(made.data, {"k": "v"})
        self.refused(409, "Conflict", self.core.create_namespaced_config_map, self.namespace, body)
        patched = self.core.patch_namespaced_config_map("a", self.namespace, {"data": {"k": None, "l": "w"}})
        self.assertEqual(patched.data, {"l": "w"})
        made.data = {"stale": "yes"}
        body = self.refused(409, "Conflict", self.core.replace_namespaced_config_map, "a", self.namespace, made)
        self.assertIn("the object has been modified", body)
        patched.data = {"new": "yes"}
        self.core.replace_namespaced_config_map("a", self.namespace, patched)
        found = self.core.list_namespaced_config_map(self.namespace, label_selector="x in (y)")
        self.assertEqual([item.metadata.name for item in found.items], ["a"])
        self.core.delete_namespaced_config_map("a", self.namespace)
        self.refused(404, "Not Found", self.core.read_namespaced_config_map, "a", self.namespace)

    def test_lists_come_in_pages(self):
        for number in range(7):
            body = client.V1Secret(metadata=META(name=f"s{number}"), string_data={"k": "v"})
            self.core.create_namespaced_secret(self.namespace, body)
        names, token = [], None
        while True:
            page = self.core.list_namespaced_secret(self.namespace, limit=3, _continue=token)
            names += [item.metadata.name for item in page.items]
            token = page.metadata._continue
            if not token:
                break
        self.assertEqual(names, [f"s{number}" for number in range(7)])
        self.core.delete_collection_namespaced_secret(self.namespace)
        self.assertEqual(self.core.list_namespaced_secret(self.namespace).items, [])

    def test_workloads_are_read_back_as_they_were_meant(self):
        selector = client.V1LabelSelector(match_labels={"app": "w"})
        self.apps.create_namespaced_deployment(self.namespace, client.V1Deployment(
            metadata=META(name="w"),
            spec=client.V1DeploymentSpec(replicas=2, selector=selector, template=template("w"))))
        self.apps.create_namespaced_stateful_set(self.namespace, client.V1StatefulSet(
            metadata=META(name="w"),
            spec=client.V1StatefulSetSpec(service_name="w", selector=selector, template=template("w"))))
        self.apps.create_namespaced_daemon_set(self.namespace, client.V1DaemonSet(
            metadata=META(name="w"),
            spec=client.V1DaemonSetSpec(selector=selector, template=template("w"))))
        self.apps.create_namespaced_replica_set(self.namespace, client.V1ReplicaSet(
            metadata=META(name="w"), spec=client.V1ReplicaSetSpec(selector=selector, template=template("w"))))
        job = template("w")
        job.spec.restart_policy = "Never"
        self.batch.create_namespaced_job(self.namespace, client.V1Job(
            metadata=META(name="w"), spec=client.V1JobSpec(template=job)))
        self.batch.create_namespaced_cron_job(self.namespace, client.V1CronJob(
            metadata=META(name="w"),
            spec=client.V1CronJobSpec(
                schedule="*/5 * * * *", job_template=client.V1JobTemplateSpec(spec=client.V1JobSpec(template=job)))))
        deployment = self.apps.read_namespaced_deployment("w", self.namespace)
        self.assertEqual(deployment.spec.strategy.rolling_update.max_surge, "25%")
        self.assertEqual(deployment.spec.progress_deadline_seconds, 600)
        self.assertEqual(self.apps.read_namespaced_stateful_set("w", self.namespace).spec.replicas, 1)
        self.assertEqual(self.batch.read_namespaced_job("w", self.namespace).spec.backoff_limit, 6)
        self.assertEqual(self.batch.read_namespaced_cron_job("w", self.namespace).spec.concurrency_policy, "Allow")
        scale = self.apps.read_namespaced_deployment_scale("w", self.namespace)
        scale.spec.replicas = 5
        self.apps.replace_namespaced_deployment_scale("w", self.namespace, scale)
        self.assertEqual(self.apps.read_namespaced_deployment("w", self.namespace).spec.replicas, 5)
        body = self.refused(422, "Unprocessable Entity", self.apps.patch_namespaced_deployment, "w",
                            self.namespace, {"spec": {"selector": {"matchLabels": {"app": "other"}}}})
        self.assertIn("field is immutable", body)

    def test_service_gets_an_address(self):
        body = client.V1Service(
            metadata=META(name="s"),
            spec=client.V1ServiceSpec(selector={"app": "w"}, ports=[client.V1ServicePort(port=80)]))
        made = self.core.create_namespaced_service(self.namespace, body)
        self.assertRegex(made.spec.cluster_ip, r"^\d+\.\d+\.\d+\.\d+$")
        self.assertEqual(made.spec.ports[0].target_port, 80)

    def test_pod_is_evicted(self):
        self.core.create_namespaced_pod(self.namespace, client.V1Pod(
            metadata=META(name="p"), spec=template("p").spec))
        self.core.create_namespaced_pod_eviction(
            "p", self.namespace, client.V1Eviction(metadata=META(name="p", namespace=self.namespace)))
        self.refused(404, "Not Found", self.core.read_namespaced_pod, "p", self.namespace)

    def test_every_list_call_of_the_client_for_served_kinds_works(self):
        for api, calls in {
            self.core: ["node", "namespace", "pod_for_all_namespaces", "service_for_all_namespaces",
                        "persistent_volume", "persistent_volume_claim_for_all_namespaces",
                        "replication_controller_for_all_namespaces", "limit_range_for_all_namespaces",
                        "resource_quota_for_all_namespaces", "pod_template_for_all_namespaces",
                        "endpoints_for_all_namespaces", "event_for_all_namespaces",
                        "service_account_for_all_namespaces"],
            self.apps: ["controller_revision_for_all_namespaces", "replica_set_for_all_namespaces"],
            client.CoordinationV1Api(): ["lease_for_all_namespaces"],
            client.DiscoveryV1Api(): ["endpoint_slice_for_all_namespaces"],
            client.EventsV1Api(): ["event_for_all_namespaces"],
            client.PolicyV1Api(): ["pod_disruption_budget_for_all_namespaces"],
            client.RbacAuthorizationV1Api(): ["cluster_role", "cluster_role_binding",
                                              "role_for_all_namespaces", "role_binding_for_all_namespaces"],
            client.SchedulingV1Api(): ["priority_class"],
            client.StorageV1Api(): ["storage_class"],
            client.NodeV1Api(): ["runtime_class"],
            client.CertificatesV1Api(): ["certificate_signing_request"],
            client.NetworkingV1Api(): ["network_policy_for_all_namespaces", "ingress_for_all_namespaces"],
        }.items():
            for call in calls:
                with self.subTest(call):
                    getattr(api, f"list_{call}")()


class Watches(Case):
    def test_changes_are_seen_from_a_list_on(self):
        body = client.V1ConfigMap(metadata=META(name="a"), data={"k": "1"})
        self.core.create_namespaced_config_map(self.namespace, body)
        listed = self.core.list_namespaced_config_map(self.namespace)
        self.core.patch_namespaced_config_map("a", self.namespace, {"data": {"k": "2"}})
        self.core.delete_namespaced_config_map("a", self.namespace)
        seen = [
            (event["type"], event["object"].data["k"])
            for event in watch.Watch().stream(
                self.core.list_namespaced_config_map, self.namespace,
                resource_version=listed.metadata.resource_version, timeout_seconds=1)
        ]
        self.assertEqual(seen, [("MODIFIED", "2"), ("DELETED", "2")])

    def test_version_that_is_not_one_is_refused(self):
        with self.assertRaises(ApiException) as caught:
            list(watch.Watch().stream(self.core.list_namespaced_config_map, self.namespace,
                                      resource_version="frog", timeout_seconds=1))
        self.assertEqual(caught.exception.status, 422)


class Dynamic(Case):
    def test_objects_are_applied_by_several(self):
        dyn = dynamic.DynamicClient(client.ApiClient())
        maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"a": "1"}}
        dyn.server_side_apply(maps, body=body, namespace=self.namespace, field_manager="one")
        body["data"] = {"b": "2"}
        both = dyn.server_side_apply(maps, body=body, namespace=self.namespace, field_manager="two")
        self.assertEqual(both.data.to_dict(), {"a": "1", "b": "2"})
        body["data"] = {"a": "3"}
        with self.assertRaises(dynamic.exceptions.ConflictError):
            dyn.server_side_apply(maps, body=body, namespace=self.namespace, field_manager="two")


class Rights(Case):
    def test_reviews_answer(self):
        review = client.AuthorizationV1Api().create_self_subject_access_review(
            client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
                resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods"))))
        self.assertTrue(review.status.allowed)
        me = client.AuthenticationV1Api().create_self_subject_review(client.V1SelfSubjectReview())
        self.assertIn("system:masters", me.status.user_info.groups)

    def test_a_service_account_may_do_what_its_role_says(self):
        rbac = client.RbacAuthorizationV1Api()
        self.core.create_namespaced_service_account(
            self.namespace, client.V1ServiceAccount(metadata=META(name="reader")))
        rbac.create_namespaced_role(self.namespace, client.V1Role(
            metadata=META(name="reader"),
            rules=[client.V1PolicyRule(api_groups=[""], resources=["configmaps"], verbs=["list"])]))
        rbac.create_namespaced_role_binding(self.namespace, client.V1RoleBinding(
            metadata=META(name="reader"),
            role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="reader"),
            subjects=[client.RbacV1Subject(kind="ServiceAccount", name="reader", namespace=self.namespace)]))
        token = self.core.create_namespaced_service_account_token(
            "reader", self.namespace,
            client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[])))
        settings = client.Configuration.get_default_copy()
        settings.cert_file = settings.key_file = None
        settings.api_key = {"authorization": f"Bearer {token.status.token}"}
        reader = client.CoreV1Api(client.ApiClient(settings))
        reader.list_namespaced_config_map(self.namespace)
        body = self.refused(403, "Forbidden", reader.list_namespaced_secret, self.namespace)
        self.assertIn(f"system:serviceaccount:{self.namespace}:reader", body)
        review = client.AuthenticationV1Api().create_token_review(
            client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token.status.token)))
        self.assertTrue(review.status.authenticated)


if __name__ == "__main__":
    unittest.main()
