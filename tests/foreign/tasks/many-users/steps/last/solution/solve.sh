set -e
test "$(cat one.txt)" = first
echo last > two.txt
