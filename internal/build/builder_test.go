package build

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/ikada/ikada/api"
)

func chainID(ids []digest.Digest) string { return identity.ChainID(ids).String() }

func TestBuildScratchIsPinnedUnpackedAndRepeatable(t *testing.T) {
	r := newRig(t, nil)
	dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY hello /hello\nLABEL a=b\n", "hello": "hi"})
	first := r.build(t, dir, api.BuildSpec{Labels: map[string]string{"who": "me"}})
	image := first.ok(t)
	if !strings.HasPrefix(image, "ikada.local/shop/web@sha256:") {
		t.Errorf("image = %q", image)
	}
	if got := r.file(t, image, "hello"); got != "hi" {
		t.Errorf("hello = %q", got)
	}
	if got := r.file(t, "ikada.local/shop/web:latest-production", "hello"); got != "hi" {
		t.Errorf("hello of the moving name = %q", got)
	}
	if last := first.events[len(first.events)-1]; last.Image != image {
		t.Errorf("last event = %+v", last)
	}

	second := r.build(t, dir, api.BuildSpec{Labels: map[string]string{"who": "me"}})
	if got := second.ok(t); got != image {
		t.Errorf("rebuilt with no change: %s, before %s", got, image)
	}
	cached := false
	for _, e := range second.events {
		cached = cached || e.Cached && strings.Contains(e.Step, "COPY")
	}
	if !cached {
		t.Errorf("COPY was not cached: %+v", second.events)
	}

	put(t, dir, "hello", "changed")
	third := r.build(t, dir, api.BuildSpec{}).ok(t)
	if third == image {
		t.Error("a changed file gave the same digest")
	}
	if got := r.file(t, third, "hello"); got != "changed" {
		t.Errorf("hello = %q", got)
	}
	if got := r.file(t, image, "hello"); got != "hi" {
		t.Errorf("the image that was built before now has hello = %q", got)
	}
}

func TestRunStepsArgsTargetsAndLocalBaseImage(t *testing.T) {
	net := newPlainNetwork(t)
	r := newRig(t, func(c *Config) { c.Network = net })
	r.busybox(t)
	dir := write(t, map[string]string{"Dockerfile": `# syntax=docker/dockerfile:1
FROM ikada.local/busybox:1 AS base
ARG COLOUR=red
RUN echo -n $COLOUR > /colour && cat /etc/resolv.conf /etc/hosts > /net && ls /sys/class/net > /links
FROM base AS other
RUN exit 9
FROM base AS last
RUN df -k /dev/shm | tail -n 1 > /shm
`})
	image := r.build(t, dir, api.BuildSpec{
		Target: "last", Args: map[string]string{"COLOUR": "blue"}, ExtraHosts: map[string]string{"db": "192.0.2.9"}, ShmSize: 8 << 20,
	}).ok(t)
	if got := r.file(t, image, "colour"); got != "blue" {
		t.Errorf("colour = %q", got)
	}
	got := r.file(t, image, "net")
	for _, want := range []string{"nameserver 192.0.2.53", "192.0.2.7 neighbour", "192.0.2.9\tdb"} {
		if !strings.Contains(got, want) {
			t.Errorf("a step's resolv.conf and hosts lack %q:\n%s", want, got)
		}
	}
	if links := strings.Fields(r.file(t, image, "links")); len(links) == 0 || links[len(links)-1] == "eth0" {
		t.Errorf("links in the step's network = %v", links)
	}
	if got := r.file(t, image, "shm"); !strings.Contains(got, "8192") {
		t.Errorf("df /dev/shm = %q, want 8192 blocks", got)
	}
	attached, served := net.left()
	if attached != 0 || served < 3 {
		t.Errorf("networks: %d still attached of %d", attached, served)
	}
	if left, err := os.ReadDir(r.cfg.Root + "/hosts"); err != nil || len(left) != 0 {
		t.Errorf("hosts files left: %v, %v", left, err)
	}
}

func TestOwnRegistryHostAndDigestResolveLocally(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OwnHost = func(h string) bool { return h == "10.9.8.7:7600" } })
	r.busybox(t)
	img, err := r.client.GetImage(r.ctx(), "ikada.local/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{
		"10.9.8.7:7600/busybox:1",
		"10.9.8.7:7600/busybox@" + img.Target().Digest.String(),
		"ikada.local/busybox@" + img.Target().Digest.String(),
	} {
		for _, pull := range []bool{false, true} {
			dir := write(t, map[string]string{"Dockerfile": "FROM " + from + "\nRUN echo ok > /ok\n"})
			if got := r.file(t, r.build(t, dir, api.BuildSpec{Pull: pull}).ok(t), "ok"); got != "ok\n" {
				t.Errorf("FROM %s, pull %v: ok = %q", from, pull, got)
			}
		}
	}
	missing := r.build(t, write(t, map[string]string{"Dockerfile": "FROM scratch\nFROM 10.9.8.7:7600/nothing:1\n"}), api.BuildSpec{})
	if !api.IsKind(missing.err, api.NotFound) || !strings.Contains(missing.err.Error(), "Dockerfile line 2") {
		t.Errorf("missing base image: %s: %v", api.KindOf(missing.err), missing.err)
	}
}

func TestAdditionalContexts(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	r.buildAs(t.Context(), t, "assets", write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "asset"}), api.BuildSpec{}, nil).ok(t)
	dir := write(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY --from=lib x /x\nCOPY --from=assets /a /a\n",
		"lib/x":      "library",
	})
	image := r.build(t, dir, api.BuildSpec{Contexts: map[string]string{"lib": "lib", "assets": "service:assets"}}).ok(t)
	if x, a := r.file(t, image, "x"), r.file(t, image, "a"); x != "library" || a != "asset" {
		t.Errorf("x = %q, a = %q", x, a)
	}
	put(t, dir, "Dockerfile", "FROM base\nRUN echo ok > /ok\n")
	image = r.build(t, dir, api.BuildSpec{Contexts: map[string]string{"base": "docker-image://ikada.local/busybox:1"}}).ok(t)
	if got := r.file(t, image, "ok"); got != "ok\n" {
		t.Errorf("ok = %q", got)
	}
}

func TestSecretsIgnoreFilesSymlinksAndInline(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	t.Setenv("BUILD_TEST_SECRET", "from-env")
	dir := write(t, map[string]string{
		"app.Dockerfile": "FROM ikada.local/busybox:1\nCOPY . /src\n" +
			"RUN --mount=type=secret,id=tok --mount=type=secret,id=env (cat /run/secrets/tok /run/secrets/env | wc -c) > /count\n",
		"app.Dockerfile.dockerignore": "*.log\n!keep.log\n",
		".dockerignore":               "*\n",
		"a.txt":                       "a", "x.log": "x", "keep.log": "k",
		"secret": "from-file",
	})
	if err := os.Symlink("a.txt", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	b := r.build(t, dir, api.BuildSpec{Dockerfile: "app.Dockerfile", Secrets: map[string]string{"tok": "file:secret", "env": "env:BUILD_TEST_SECRET"}})
	image := b.ok(t)
	if got := strings.TrimSpace(r.file(t, image, "count")); got != "17" {
		t.Errorf("the two secrets have %s bytes, want 17", got)
	}
	if got := r.file(t, image, "src/link"); got != "a" {
		t.Errorf("through the symlink: %q", got)
	}
	if _, err := r.readFile(t, image, "src/x.log"); !os.IsNotExist(err) {
		t.Errorf("ignored file: %v, want that it does not exist", err)
	}
	if got := r.file(t, image, "src/keep.log"); got != "k" {
		t.Errorf("keep.log = %q", got)
	}
	if _, err := r.readFile(t, image, "run/secrets/tok"); !os.IsNotExist(err) {
		t.Errorf("the secret is in the image: %v", err)
	}
	for _, e := range b.events {
		if strings.Contains(e.Log, "from-file") || strings.Contains(e.Log, "from-env") {
			t.Errorf("the secret is in the log: %+v", e)
		}
	}

	inline := r.build(t, write(t, map[string]string{"f": "1"}), api.BuildSpec{DockerfileInline: "FROM scratch\nCOPY f /f\n"}).ok(t)
	if got := r.file(t, inline, "f"); got != "1" {
		t.Errorf("f = %q", got)
	}
}

func TestNoCacheRunsAgain(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN cat /proc/sys/kernel/random/uuid > /id\n"})
	first := r.file(t, r.build(t, dir, api.BuildSpec{}).ok(t), "id")
	if again := r.file(t, r.build(t, dir, api.BuildSpec{}).ok(t), "id"); again != first {
		t.Error("the step ran again with its cache allowed")
	}
	if again := r.file(t, r.build(t, dir, api.BuildSpec{NoCache: true}).ok(t), "id"); again == first {
		t.Error("the step did not run again with no_cache")
	}
}

func TestDiskUsageAndPruneKeepImages(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN dd if=/dev/zero of=/big bs=1M count=4\n"})
	image := r.build(t, dir, api.BuildSpec{}).ok(t)
	before, err := r.DiskUsage(t.Context())
	if err != nil || before.Records == 0 || before.Total < 4<<20 {
		t.Fatalf("usage = %+v, %v", before, err)
	}
	freed, err := r.Prune(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if freed > before.Total-4<<20 {
		t.Errorf("%d bytes are said to be free, with the image's; the cache had %+v", freed, before)
	}
	after, err := r.DiskUsage(t.Context())
	if err != nil || after.Records >= before.Records {
		t.Errorf("after pruning: %+v, before %+v, %v", after, before, err)
	}
	if got := r.file(t, image, "big"); len(got) != 4<<20 {
		t.Errorf("the image lost its file: %d bytes", len(got))
	}
	r.build(t, dir, api.BuildSpec{}).ok(t)
	if _, err := r.Prune(t.Context(), -1); !api.IsKind(err, api.Invalid) {
		t.Errorf("prune to a negative size: %v", err)
	}
}
