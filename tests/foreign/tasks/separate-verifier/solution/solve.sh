set -e
mkdir -p site
echo "<title>Hello</title>" > site/index.html
echo '{"pages": 1}' > state.json
