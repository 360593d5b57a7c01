package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// identity is one certificate: who it names, and whether it serves or calls.
type identity struct {
	file   string
	name   string
	groups []string
	serves bool
}

// pki writes a certificate authority, the API server's and the clients' certificates, and the key that signs service
// account tokens. The certificates live for a year and the cluster for hours: there is no renewal.
//
// Usage: pki --dir DIR --node NAME --ips A,B --names a,b
func pki(context.Context) int {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "where to write; must exist")
	node := flags.String("node", "", "the node's name")
	ips := flags.String("ips", "", "addresses of the API server, separated by commas")
	names := flags.String("names", "", "names of the API server, separated by commas")
	_ = flags.Parse(os.Args[1:])

	identities := []identity{
		{file: "apiserver", name: "kube-apiserver", serves: true},
		{file: "kubelet-server", name: *node, serves: true},
		{file: "apiserver-kubelet-client", name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "admin", name: "torpor-local-admin", groups: []string{"system:masters"}},
		{file: "kube-controller-manager", name: "system:kube-controller-manager"},
		{file: "kube-scheduler", name: "system:kube-scheduler"},
		{file: "kubelet", name: "system:node:" + *node, groups: []string{"system:nodes"}},
		{file: "kube-proxy", name: "system:kube-proxy"},
		{file: "coredns", name: "torpor-local:coredns"},
	}
	if err := writeAll(*dir, strings.Split(*names, ","), strings.Split(*ips, ","), identities); err != nil {
		fmt.Fprintln(os.Stderr, "pki:", err)
		return 1
	}
	return 0
}

func writeAll(dir string, names, ips []string, identities []identity) error {
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "torpor-local"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caKey, err := write(dir, "ca", ca, ca, nil)
	if err != nil {
		return err
	}
	for serial, who := range identities {
		certificate := &x509.Certificate{
			SerialNumber: big.NewInt(int64(serial) + 2),
			Subject:      pkix.Name{CommonName: who.name, Organization: who.groups},
			NotBefore:    ca.NotBefore,
			NotAfter:     ca.NotAfter,
			KeyUsage:     x509.KeyUsageDigitalSignature,
			ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if who.serves {
			certificate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			certificate.DNSNames = append([]string{who.name}, names...)
			for _, ip := range ips {
				certificate.IPAddresses = append(certificate.IPAddresses, net.ParseIP(ip))
			}
		}
		if _, err := write(dir, who.file, certificate, ca, caKey); err != nil {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "service-account.key"), key)
}

// write signs one certificate with the authority's key (nil: with its own) and writes FILE.crt and FILE.key.
func write(dir, file string, certificate, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, file+".crt"), text, 0o644); err != nil {
		return nil, err
	}
	return key, writeKey(filepath.Join(dir, file+".key"), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
