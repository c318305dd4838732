import socket

from orchestrator.runtime import server


def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    with (
        server.bind("127.0.0.1:0") as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
