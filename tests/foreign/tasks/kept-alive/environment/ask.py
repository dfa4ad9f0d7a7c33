import socket

with socket.create_connection(("127.0.0.1", 8099), timeout=5) as connection:
    print(connection.recv(100).decode())
