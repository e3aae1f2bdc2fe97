"""The command `homeserver`."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from homeserver.config.decode import ConfigError
from homeserver.config.example import example, for_server
from homeserver.config.load import Overrides, load
from homeserver.config.model import Config
from homeserver.config.version import version
from homeserver.protocol.errors import InvalidIdentifier, InvalidSigningKey
from homeserver.protocol.identifiers import parse_server_name
from homeserver.run import compose
from homeserver.run.lifecycle import run_until_stopped
from homeserver.run.media_cli import add_media_commands
from homeserver.run.nodes_cli import add_nodes_command
from homeserver.run.operator_cli import add_operator_commands
from homeserver.run.proxy_config import (
    DEFAULT_MAX_UPLOAD_BYTES,
    DEFAULT_PORT,
    InvalidProxySetting,
    ProxyProgram,
    ProxySettings,
    TlsFiles,
    local_nodes,
    proxy_config,
    public_names,
)
from homeserver.run.register_user import NewUser, RegistrationFailed, local_url, register
from homeserver.storage.database import DatabaseUnavailable, UnsuitableDatabase
from homeserver.storage.migrate import MigrationFailed
from homeserver.storage.postgres_programs import EmbeddedPostgresFailed

Command: TypeAlias = Callable[[argparse.Namespace], int]

_FAILED: Final = 1
# What an operator can mend; each explains itself, so no traceback is shown.
_EXPLAINED: Final = (
    ConfigError,
    DatabaseUnavailable,
    UnsuitableDatabase,
    MigrationFailed,
    EmbeddedPostgresFailed,
    InvalidSigningKey,
    RegistrationFailed,
    InvalidProxySetting,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 not understood."""
    chosen = _parser().parse_args(arguments)
    command: Command = chosen.command
    try:
        return command(chosen)
    except _EXPLAINED as error:
        print(f"homeserver: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _FAILED


def _run(chosen: argparse.Namespace) -> int:
    config = _load(chosen)
    return run_until_stopped(lambda: compose.serve(config, ready=_say_ready))


def _say_ready(addresses: Sequence[str]) -> None:
    print(f"homeserver is ready: {' '.join(addresses)}", flush=True)


def _check_config(chosen: argparse.Namespace) -> int:
    config = _load(chosen)
    for remark in _remarks(config):
        print(f"note: {remark}")
    print(f"The configuration of {config.server.name} is in order.")
    return 0


def _remarks(config: Config) -> list[str]:
    """Say what is allowed but may not be meant."""
    remarks = []
    if config.registers_without_verification:
        remarks.append("registration: whoever reaches the server may make accounts")
    if config.database.dsn is None and config.redis.url is not None:
        remarks.append("redis.url: nodes on several machines also need database.dsn")
    if not config.outgoing_http.verify_tls:
        remarks.append("outgoing_http.verify_tls: certificates are not checked")
    return remarks


def _generate_config(chosen: argparse.Namespace) -> int:
    text = example() if chosen.server_name is None else for_server(chosen.server_name)
    if chosen.output is None:
        print(text, end="")
        return 0
    try:
        with chosen.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        print(f"homeserver: {chosen.output} exists and was not touched", file=sys.stderr)
        return _FAILED
    return 0


def _register_user(chosen: argparse.Namespace) -> int:
    config = _load(chosen)
    secret = config.registration.shared_secret
    if secret is None:
        raise RegistrationFailed(
            "set registration.shared_secret in the configuration, and start the server again"
        )
    url = chosen.url or local_url(config)
    user = NewUser(name=chosen.user, password=_password(chosen), is_admin=chosen.admin)
    print(f"registered {register(url, secret.reveal(), user)}")
    return 0


def _password(chosen: argparse.Namespace) -> str:
    if chosen.password is not None:
        return str(chosen.password)
    if chosen.password_file is not None:
        return str(chosen.password_file.read_text("utf-8").rstrip("\r\n"))
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        raise RegistrationFailed("the two passwords differ")
    return password


def _proxy_config(chosen: argparse.Namespace) -> int:
    config = _load(chosen)
    certificate, key = chosen.tls_certificate, chosen.tls_key
    if (certificate is None) != (key is None):
        raise InvalidProxySetting("--tls-certificate and --tls-key need each other")
    settings = ProxySettings(
        nodes=chosen.node or local_nodes(config),
        server_names=public_names(config),
        port=chosen.port,
        tls=None if certificate is None else TlsFiles(certificate, key),
        max_upload_bytes=chosen.max_upload_bytes,
    )
    print(proxy_config(ProxyProgram(chosen.program), settings), end="")
    return 0


def _version(_chosen: argparse.Namespace) -> int:
    print(version())
    return 0


def _load(chosen: argparse.Namespace) -> Config:
    overrides = Overrides(
        data_dir=getattr(chosen, "data_dir", None),
        bind=getattr(chosen, "bind", None),
        server_name=getattr(chosen, "server_name", None),
    )
    return load(chosen.config, environ=os.environ, overrides=overrides)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homeserver", description="A Matrix homeserver.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_check_config(commands)
    _add_generate_config(commands)
    _add_register_user(commands)
    add_operator_commands(commands, _add_config, _load)
    add_nodes_command(commands, _add_config, _load)
    add_media_commands(commands, _add_config, _load)
    _add_proxy_config(commands)
    about = "print the version of this program"
    commands.add_parser("version", help=about, description=about).set_defaults(command=_version)
    return parser


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def _add_run(commands: _Commands) -> None:
    about = "run the server until SIGTERM or SIGINT; without options a local one"
    run = commands.add_parser("run", help=about, description=about)
    _add_config(run)
    run.add_argument("--data-dir", type=Path, metavar="DIR", help="folder for all files")
    run.add_argument("--bind", metavar="HOST:PORT", help="listen here only, with plain HTTP")
    run.add_argument("--server-name", metavar="NAME", help="part of user IDs after the colon")
    run.set_defaults(command=_run)


def _add_check_config(commands: _Commands) -> None:
    about = "explain what is wrong with the configuration"
    check = commands.add_parser("check-config", help=about, description=about)
    _add_config(check)
    check.set_defaults(command=_check_config)


def _add_generate_config(commands: _Commands) -> None:
    about = "print a configuration that explains every setting"
    generate = commands.add_parser("generate-config", help=about, description=about)
    name = generate.add_argument("--server-name", metavar="NAME", type=_server_name)
    name.help = "for a server of this name"
    generate.add_argument("--output", type=Path, metavar="FILE", help="write here; never replaces")
    generate.set_defaults(command=_generate_config)


def _server_name(text: str) -> str:
    try:
        return parse_server_name(text)
    except InvalidIdentifier as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_register_user(commands: _Commands) -> None:
    about = "register an account at a running server by registration.shared_secret"
    user = commands.add_parser("register-user", help=about, description=about)
    _add_config(user)
    user.add_argument("--user", required=True, metavar="NAME", help="localpart of the user ID")
    password = user.add_mutually_exclusive_group()
    password.add_argument("--password", help="visible to other users; asked for when absent")
    password.add_argument("--password-file", type=Path, metavar="FILE")
    user.add_argument("--admin", action="store_true", help="make a server administrator")
    user.add_argument("--url", help="address of the server, if it is not on this machine")
    user.set_defaults(command=_register_user)


def _add_proxy_config(commands: _Commands) -> None:
    about = "print the configuration of a reverse proxy that keeps rooms and callers on one node"
    proxy = commands.add_parser("proxy-config", help=about, description=about)
    _add_config(proxy)
    proxy.add_argument("program", choices=[program.value for program in ProxyProgram])
    node = proxy.add_argument("--node", action="append", metavar="HOST:PORT")
    node.help = "a node, or unix:/path; any number; by default those of this configuration"
    port = proxy.add_argument("--port", type=int, default=DEFAULT_PORT)
    port.help = f"where the proxy listens without TLS; by default {DEFAULT_PORT}"
    proxy.add_argument("--tls-certificate", metavar="FILE", help="PEM; then ports 443 and 8448")
    proxy.add_argument("--tls-key", metavar="FILE", help="the key of the certificate")
    upload = proxy.add_argument("--max-upload-bytes", type=int, metavar="BYTES")
    upload.default = DEFAULT_MAX_UPLOAD_BYTES
    upload.help = f"the largest upload that is let through; by default {DEFAULT_MAX_UPLOAD_BYTES}"
    proxy.set_defaults(command=_proxy_config)


def _add_config(parser: argparse.ArgumentParser) -> None:
    about = "homeserver.yaml; by default the one in the working folder, if there is one"
    parser.add_argument("--config", type=Path, metavar="FILE", help=about)


if __name__ == "__main__":
    sys.exit(main())
