package build

import (
	"fmt"
	"testing"

	"github.com/ikada/ikada/api"
)

const benchDockerfile = `FROM ikada.local/busybox:1
COPY dep /dep
RUN sha256sum /dep/* > /sums
COPY src /src
RUN cat /src/* | sha256sum > /app
`

// benchApp is a context of 200 files, as a small app has.
func benchApp(b *testing.B) string {
	files := map[string]string{"Dockerfile": benchDockerfile, ".dockerignore": ".git\n"}
	for i := range 100 {
		files[fmt.Sprintf("src/f%03d.txt", i)] = fmt.Sprintf("source %d\n", i)
		files[fmt.Sprintf("dep/f%03d.txt", i)] = fmt.Sprintf("dependency %d\n", i)
	}
	return write(b, files)
}

func BenchmarkFirst(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, func(c *Config) { c.Network = newPlainNetwork(b) })
		r.busybox(b)
		dir := benchApp(b)
		b.StartTimer()
		r.build(b, dir, api.BuildSpec{}).ok(b)
	}
}

func BenchmarkNoChange(b *testing.B) {
	r := newRig(b, func(c *Config) { c.Network = newPlainNetwork(b) })
	r.busybox(b)
	dir := benchApp(b)
	r.build(b, dir, api.BuildSpec{}).ok(b)
	for b.Loop() {
		r.build(b, dir, api.BuildSpec{}).ok(b)
	}
}

func BenchmarkOneFileChanged(b *testing.B) {
	r := newRig(b, func(c *Config) { c.Network = newPlainNetwork(b) })
	r.busybox(b)
	dir := benchApp(b)
	r.build(b, dir, api.BuildSpec{}).ok(b)
	n := 0
	for b.Loop() {
		n++
		put(b, dir, "src/f001.txt", fmt.Sprintf("change %d of %p\n", n, b))
		r.build(b, dir, api.BuildSpec{}).ok(b)
	}
}

func BenchmarkNoChangeAfterRestart(b *testing.B) {
	r := newRig(b, func(c *Config) { c.Network = newPlainNetwork(b) })
	r.busybox(b)
	dir := benchApp(b)
	r.build(b, dir, api.BuildSpec{}).ok(b)
	for b.Loop() {
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		r.open(b)
		r.build(b, dir, api.BuildSpec{}).ok(b)
	}
}
