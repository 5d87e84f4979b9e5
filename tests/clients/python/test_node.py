"""What programs written with the official client do with Pods that run."""

import unittest

from kubernetes import client, config, watch
from kubernetes.stream import portforward, stream

config.load_kube_config()
PAGE = "mkdir -p /tmp/w; echo page >/tmp/w/index.html; echo started; exec httpd -f -p 127.0.0.1:8099 -h /tmp/w"


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.core = client.CoreV1Api()
        node = cls.core.list_node().items[0].metadata.name
        cls.core.create_namespaced_pod("default", client.V1Pod(
            metadata=client.V1ObjectMeta(name="py", labels={"app": "py"}),
            spec=client.V1PodSpec(
                node_name=node, host_network=True, termination_grace_period_seconds=0,
                containers=[client.V1Container(
                    name="main", image="example.test/busybox:1", command=["sh", "-c", PAGE])])))
        events = watch.Watch()
        for event in events.stream(cls.core.list_namespaced_pod, "default", label_selector="app=py",
                                   timeout_seconds=60):
            if event["object"].status.phase == "Running":
                break

    @classmethod
    def tearDownClass(cls):
        cls.core.delete_namespaced_pod("py", "default")

    def test_log_is_read(self):
        self.assertEqual(self.core.read_namespaced_pod_log("py", "default"), "started\n")

    def test_command_is_run_with_input_and_exit_code(self):
        shell = stream(self.core.connect_get_namespaced_pod_exec, "py", "default", command=["sh"],
                       stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
        shell.write_stdin("echo out; echo err >&2; exit 3\n")
        shell.run_forever(timeout=20)
        self.assertEqual((shell.read_stdout(), shell.read_stderr()), ("out\n", "err\n"))
        self.assertEqual(shell.returncode, 3)

    def test_whole_output_comes_at_once(self):
        said = stream(self.core.connect_get_namespaced_pod_exec, "py", "default",
                      command=["cat", "/tmp/w/index.html"], stdout=True, stderr=True, stdin=False, tty=False)
        self.assertEqual(said, "page\n")

    def test_port_is_forwarded(self):
        tunnel = portforward(self.core.connect_get_namespaced_pod_portforward, "py", "default", ports="8099")
        socket = tunnel.socket(8099)
        socket.settimeout(20)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while part := socket.recv(4096):
            answer += part
        self.assertTrue(answer.endswith(b"page\n"), answer)
        self.assertIsNone(tunnel.error(8099))


if __name__ == "__main__":
    unittest.main()
