// Command conformance pushes, lists, attaches, copies and deletes artifacts with the oras library in the repository
// named by its argument, HOST/NAME, over plain HTTP, and prints ok when all of it came back as it went in.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
)

const artifactType = "application/vnd.ikada.test"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: conformance HOST/NAME")
		os.Exit(2)
	}
	if err := check(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func check(ctx context.Context, name string) error {
	repo, err := remote.NewRepository(name)
	if err != nil {
		return err
	}
	repo.PlainHTTP = true

	data := []byte("hello from oras\n")
	layer, err := oras.PushBytes(ctx, repo, "text/plain", data)
	if err != nil {
		return fmt.Errorf("push blob: %w", err)
	}
	artifact, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, artifactType,
		oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		return fmt.Errorf("push manifest: %w", err)
	}
	if err := repo.Tag(ctx, artifact, "v1"); err != nil {
		return fmt.Errorf("tag: %w", err)
	}
	attached, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, artifactType+".signature",
		oras.PackManifestOptions{Subject: &artifact, ManifestAnnotations: map[string]string{"by": "test"}})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	var referrers []ocispec.Descriptor
	err = repo.Referrers(ctx, artifact, artifactType+".signature", func(page []ocispec.Descriptor) error {
		referrers = append(referrers, page...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list referrers: %w", err)
	}
	if len(referrers) != 1 || referrers[0].Digest != attached.Digest || referrers[0].Annotations["by"] != "test" {
		return fmt.Errorf("referrers %v, want %s", referrers, attached.Digest)
	}
	if err := pullBack(ctx, repo, artifact, layer, data); err != nil {
		return err
	}
	return deleteAll(ctx, repo, attached, artifact)
}

// pullBack copies an artifact out of the registry and compares it.
func pullBack(ctx context.Context, repo *remote.Repository, artifact, layer ocispec.Descriptor, data []byte) error {
	store := memory.New()
	got, err := oras.ExtendedCopy(ctx, repo, "v1", store, "v1", oras.DefaultExtendedCopyOptions)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if got.Digest != artifact.Digest {
		return fmt.Errorf("copied %s, want %s", got.Digest, artifact.Digest)
	}
	rc, err := store.Fetch(ctx, layer)
	if err != nil {
		return fmt.Errorf("fetch layer: %w", err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	if !bytes.Equal(b, data) || digest.FromBytes(b) != layer.Digest {
		return fmt.Errorf("layer came back as %q", b)
	}
	return nil
}

func deleteAll(ctx context.Context, repo *remote.Repository, manifests ...ocispec.Descriptor) error {
	for _, m := range manifests {
		if err := repo.Delete(ctx, m); err != nil {
			return fmt.Errorf("delete %s: %w", m.Digest, err)
		}
	}
	if _, err := repo.Resolve(ctx, "v1"); err == nil {
		return fmt.Errorf("tag v1 outlives its manifest")
	}
	return nil
}
