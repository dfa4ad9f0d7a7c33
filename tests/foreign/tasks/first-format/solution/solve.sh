echo 42 > /tmp/answer.txt
