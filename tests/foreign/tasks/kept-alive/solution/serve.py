import os
import socket

with socket.create_server(("127.0.0.1", 8099)) as server:
    while True:
        with server.accept()[0] as connection:
            connection.sendall(os.environ["ANSWER"].encode())
