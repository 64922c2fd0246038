"""The proxy that brands come in through: mutual TLS, the fleet paths, and nothing else.

Flower's server answers operators, brands and its own processes on one port, without asking
operators who they are. So it listens on loopback, and nginx (1.22 or later) stands in front.
"""

from __future__ import annotations

from pathlib import Path

from fl.report.files import atomic_write
from server.home import Home, read_config

CONF = """\
# nginx -c DIR/proxy/nginx.conf   (or include the server block in your own configuration)
# Brands reach /v1/fleet/* with a certificate of this coordinator's CA; everything else is refused.
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 1;
events {{ worker_connections 256; }}

http {{
  access_log off;                    # who is at work when is the brands' business
  client_body_temp_path {folder}/body;    # nginx makes these when it starts; none is written to
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server_tokens off;

  upstream superlink {{ server 127.0.0.1:{port}; keepalive 16; }}

  server {{
    listen {listen} ssl;
    ssl_certificate {keys}/server.pem;
    ssl_certificate_key {keys}/server.key;
    ssl_protocols TLSv1.3;
    ssl_client_certificate {keys}/ca.pem;
    ssl_verify_client on;
    client_max_body_size 512m;       # bodies pass as they come, both ways: workers of a master that
    proxy_request_buffering off;     # runs as root are another user, who may not write below this
    proxy_max_temp_file_size 0;      # folder, and nothing of a brand's should lie on a disk

    location /v1/fleet/ {{
      limit_except POST {{ deny all; }}
      if ($request_uri !~ "^/v1/fleet/[A-Za-z0-9/-]+$") {{ return 403; }}
      proxy_pass https://superlink;
      proxy_ssl_trusted_certificate {keys}/ca.pem;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_read_timeout 120s;
    }}
    location / {{ return 403; }}
  }}
}}
"""


def write_proxy(home: Home) -> Path:
    """Write ``proxy/nginx.conf``; it is replaced."""
    config = read_config(home)
    folder = home.folder.resolve() / "proxy"
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / "nginx.conf"
    host, _, listen = config.address.rpartition(":")
    local = f"127.0.0.1:{listen}" if host in ("127.0.0.1", "localhost") else listen
    keys = home.key("").resolve()
    text = CONF.format(folder=folder, keys=keys, port=config.port, listen=local)
    atomic_write(path, text.encode())
    return path
