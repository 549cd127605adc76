"""A broker that asks who we are, and one that says who it is."""

import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile

from harness import daemon as program
from harness import kafka, traffic
from harness.short import BEGIN, SHORT, SOURCE
from harness.world import World

PASSWORD = "a pass-word, with 'odd' signs"
LISTENERS = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", "SASL": "SASL_PLAINTEXT", "TLS": "SSL", "BOTH": "SASL_SSL"}


def free_ports(count):
    """The first of so many ports in a row, below the range that the kernel hands out."""
    for _ in range(200):
        first = random.randrange(20000, 31000)
        probes = [socket.socket() for _ in range(count)]
        try:
            for at, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + at))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise OSError("no free ports in a row")


def certificates(folder):
    """An authority (ca.pem), a server of 127.0.0.1 and a client that it vouches for, and a stranger."""

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    for name in ("ca", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout",
                f"{name}.key", "-out", f"{name}.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
                f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                "2", "-extfile", "names", "-out", f"{name}.crt")
        both = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
        (folder / f"{name}.pem").write_text(both)


class Security(World):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.place = pathlib.Path(tempfile.mkdtemp(prefix="sluice-", dir="/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        certificates(cls.place)
        port = free_ports(len(LISTENERS))
        cls.address = {name: f"127.0.0.1:{port + at}" for at, name in enumerate(LISTENERS)}
        all_listeners = [f"{name}://{address}" for name, address in cls.address.items()]
        modules = "org.apache.kafka.common.security"
        plain = f'{modules}.plain.PlainLoginModule required user_sluice="{PASSWORD}";'
        properties = {
            "listeners": ",".join(all_listeners),
            "advertised.listeners": ",".join(one for one in all_listeners if "CONTROLLER" not in one),
            "listener.security.protocol.map": ",".join(":".join(pair) for pair in LISTENERS.items()),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": cls.place / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": cls.place / "ca.pem",
            "listener.name.tls.ssl.client.auth": "required",
        }
        for listener in ("sasl", "both"):
            properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = plain
            properties[f"listener.name.{listener}.scram-sha-256.sasl.jaas.config"] = (
                f"{modules}.scram.ScramLoginModule required;")
        cls.secure = kafka.Broker(cls.place / "kafka", port=port, properties=properties,
                                  scram="SCRAM-SHA-256=[name=sluice,password=salted]")
        cls.addClassCleanup(cls.secure.stop, kill=True)
        cls.secure.start()

    def setUp(self):
        super().setUp()
        self.kafka = self.secure
        self.kafka.create_topic(self.topic, 2)
        traffic.produce(self.kafka, self.topic, 2, traffic.Traffic(self.random, BEGIN), 500, self.random)

    def set_password(self, text):
        file = self.folder / "password"
        file.touch(mode=0o600)
        file.write_text(f"{text}\n")

    def reads(self, listener, password=None, **properties):
        """A daemon for this listener; `password` is its file's text."""
        source = SOURCE
        if password is not None:
            self.set_password(password)
            source += f'username = "sluice"\npassword = {{ file = "{self.folder / "password"}" }}\n'
        lines = [f'{name.replace("_", ".")} = "{value}"' for name, value in properties.items()]
        config = self.configure(SHORT, source=source, more="[source.rdkafka]\n" + "\n".join(lines))
        config.write_text(config.read_text().replace(self.kafka.brokers, self.address[listener]))
        return self.sluice(config)

    def expect_results(self, daemon):
        checked = program.command("check", daemon.config)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.finish(daemon)
        self.assertGreater(len(self.database()), 20)

    def expect_trouble(self, daemon, *words):
        """It stays, says why, and leaves when it is asked to."""
        daemon.start()
        status = daemon.wait_status(
            lambda status: any(
                c["name"] == "kafka" and not c["ok"] and any(word in c["reason"] for word in words)
                for c in status["conditions"]),
            f"the status says why, with one of {words}")
        self.assertEqual((status["ready"], status["state"]), (False, "degraded"))
        self.assertEqual(status["ledger"]["consumed"], 0)
        checked = program.command("check", daemon.config)
        self.assertEqual(checked.returncode, 69, checked.stderr)
        self.assertTrue(any(word in checked.stderr for word in words), checked.stderr)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())

    def test_a_wrong_password_is_a_state(self):
        daemon = self.reads("SASL", "wrong", security_protocol="sasl_plaintext")
        self.expect_trouble(daemon, "uthentication")
        self.set_password(PASSWORD)
        self.expect_results(daemon)

    def test_a_salted_password(self):
        daemon = self.reads("SASL", "salted", security_protocol="sasl_plaintext", sasl_mechanism="SCRAM-SHA-256")
        said = program.command("version", "--verbose").stdout
        version = tuple(map(int, re.search(r"librdkafka +(\d+)\.(\d+)\.(\d+)", said).groups()))
        if version >= (2, 6, 1):
            self.expect_results(daemon)
        else:  # whose SCRAM this broker refuses: we are told before, and why
            self.expect_trouble(daemon, "SASL authentication error")
            self.assertIn("2.6.1", program.command("check", daemon.config, "--offline").stderr)

    def test_a_password_goes_encrypted_and_to_whom_somebody_vouches_for(self):
        authority = self.folder / "authority.pem"
        shutil.copy(self.place / "stranger.pem", authority)
        daemon = self.reads("BOTH", PASSWORD, ssl_ca_location=authority)
        self.expect_trouble(daemon, "certificate verify failed")
        shutil.copy(self.place / "ca.pem", authority)
        self.expect_results(daemon)

    def test_a_certificate_of_ours(self):
        secure = {"security_protocol": "ssl", "ssl_ca_location": self.place / "ca.pem"}
        self.expect_trouble(self.reads("TLS", **secure), "SSL", "ertificate")
        self.expect_results(self.reads(
            "TLS", **secure, ssl_certificate_location=self.place / "client.pem",
            ssl_key_location=self.place / "client.key"))
