package compose_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ikada/ikada/internal/compose"
)

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := `name: shop
services:
  web:
    image: nginx:${TAG:-stable}
    ports: ["8080:80"]
    x-ikada:
      route: example.com
      health: {http: /healthz}
`
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o644); err != nil {
		panic(err)
	}
	project, err := compose.Load(context.Background(), compose.Options{Dir: dir, Env: "staging"})
	if err != nil {
		panic(err)
	}
	web := project.Spec.Services["web"]
	fmt.Println(project.Spec.App, project.Spec.Env, web.Image, web.Ports[0].Published, web.Routes[0].Host, web.Health.HTTP.Path)
	// Output: shop staging nginx:stable 8080 example.com /healthz
}

func ExampleLoad_wrong() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := "services: {web: {image: nginx, x-ikada: {health: {http: {port: 99999}}}}}"
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o644); err != nil {
		panic(err)
	}
	_, err = compose.Load(context.Background(), compose.Options{Dir: dir})
	fmt.Println(err)
	// Output: services.web.x-ikada.health.http.port: "99999"; expected a number from 1 to 65535
}
