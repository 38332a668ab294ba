package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// What a deploy of examples/hello makes.
var helloApp = api.EnvRef{App: "hello", Env: api.DefaultEnv}

const (
	helloReplicas = 2
	dockerBase    = "bench/golang:1.26"
)

// source is a directory that is deployed again and again.
type source struct {
	*bench
	dir     string
	base    string // image with a Go toolchain, in ikada's registry
	version int    // a new one each time
	image   string // ID that Docker built last
	service string // ID of Swarm's service
}

// change edits one file.
func (s *source) change() error {
	s.version++
	return setVersion(s.dir, fmt.Sprint("v", s.version))
}

func (s *source) env() []string {
	return []string{"GO_IMAGE=" + s.base, fmt.Sprint("PORT=", s.node.hello)}
}

// deploy changes a file, deploys, and tells when only tasks of the new release were left. It returns once the
// deployment has ended too.
func (s *source) deploy(ctx context.Context) (time.Duration, error) {
	if err := s.change(); err != nil {
		return 0, err
	}
	began := time.Now()
	r, err := s.node.deploy(ctx, s.env(), "--detach", s.dir)
	if err != nil {
		return 0, err
	}
	if r.Unchanged || r.Deployment == nil {
		return 0, errors.New("the deploy of a changed file changed nothing")
	}
	if err := s.node.swapped(ctx, helloApp, r.Release, helloReplicas); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, s.node.settled(ctx, helloApp, r.Deployment.Number)
}

// deployUnchanged deploys what runs already.
func (s *source) deployUnchanged(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	r, err := s.node.deploy(ctx, s.env(), s.dir)
	if err == nil && !r.Unchanged {
		err = errors.New("the deploy of what runs already made a release")
	}
	return time.Since(began), err
}

// dockerFirst hands the base image to Docker, builds, and makes the service; the build is what it measures.
func (s *source) dockerFirst(ctx context.Context) (time.Duration, error) {
	img, err := pull(ctx, s.base, s.node.token)
	if err != nil {
		return 0, err
	}
	if _, err := s.docker.load(ctx, img, dockerBase); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.dockerBuild(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	s.service, err = s.docker.create(ctx, service("hello", s.image, helloReplicas, false), s.image, helloReplicas)
	return took, err
}

// dockerBuild runs `docker build` and notes the image's ID.
func (s *source) dockerBuild(ctx context.Context) error {
	file := filepath.Join(s.bench.dir, "image-id")
	if err := s.docker.command(ctx, "build", "--quiet", "--build-arg", "GO_IMAGE="+dockerBase, "--iidfile", file, s.dir); err != nil {
		return err
	}
	id, err := os.ReadFile(file)
	s.image = strings.TrimSpace(string(id))
	return err
}

// dockerDeploy changes a file, builds, updates the service, and tells when only tasks of the new image ran.
func (s *source) dockerDeploy(ctx context.Context) (time.Duration, error) {
	if err := s.change(); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := s.dockerUnchanged(ctx); err != nil {
		return 0, err
	}
	if err := s.docker.swapped(ctx, s.service, s.image, helloReplicas); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, s.docker.updated(ctx, s.service)
}

// dockerUnchanged builds and updates the service with what came out of it.
func (s *source) dockerUnchanged(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := s.dockerBuild(ctx); err != nil {
		return 0, err
	}
	err := s.docker.command(ctx, "service", "update", "--quiet", "--detach", "--no-resolve-image", "--image", s.image, s.service)
	return time.Since(began), err
}
