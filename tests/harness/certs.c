/* certs.c - X.509 by OpenSSL 3. */
#include "harness/certs.h"
#include "harness/suite.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

static EVP_PKEY *new_key(int rsa_bits)
{
    return rsa_bits ? EVP_RSA_gen((unsigned)rsa_bits) : EVP_EC_gen("P-256");
}

static void extend(X509 *cert, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    ck_assert_msg(extension != NULL, "extension %s", value);
    ck_assert_int_eq(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void read_issuer(const struct cert *issuer, X509 **cert, EVP_PKEY **key)
{
    FILE *file = fopen(issuer->cert, "re");
    ck_assert_ptr_nonnull(file);
    *cert = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    file = fopen(issuer->key, "re");
    ck_assert_ptr_nonnull(file);
    *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert(*cert && *key);
}

static void write_files(const struct cert *out, X509 *cert, EVP_PKEY *key)
{
    FILE *file = fopen(out->cert, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(PEM_write_X509(file, cert), 1);
    ck_assert_int_eq(fclose(file), 0);
    file = fopen(out->key, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    ck_assert_int_eq(fclose(file), 0);
}

static void fill(X509 *cert, EVP_PKEY *key, X509 *issuer, const struct cert_wish *wish)
{
    static _Atomic long serial = 1;
    bool dated = wish->from_days || wish->to_days;
    X509_NAME *name = X509_get_subject_name(cert);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ((long)getpid() << 16) + serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), 86400L * (dated ? wish->from_days : -1));
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * (dated ? wish->to_days : 2));
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)wish->name, -1, -1,
                               0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    X509_set_pubkey(cert, key);
    extend(cert, issuer, NID_basic_constraints,
           wish->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->alt)
        extend(cert, issuer, NID_subject_alt_name, wish->alt);
    if (wish->usage)
        extend(cert, issuer, NID_ext_key_usage, wish->usage);
}

struct cert cert_make(const char *file, struct cert_wish wish)
{
    struct cert out;
    X509 *cert = X509_new(), *issuer = NULL;
    EVP_PKEY *key = new_key(wish.rsa_bits), *issuer_key = NULL;
    ck_assert(cert && key);
    snprintf(out.cert, sizeof out.cert, "%s/%s.crt", suite_folder(), file);
    snprintf(out.key, sizeof out.key, "%s/%s.key", suite_folder(), file);
    if (wish.issuer)
        read_issuer(wish.issuer, &issuer, &issuer_key);
    fill(cert, key, issuer ? issuer : cert, &wish);
    ck_assert_int_gt(X509_sign(cert, issuer_key ? issuer_key : key, EVP_sha256()), 0);
    write_files(&out, cert, key);
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
    X509_free(cert);
    EVP_PKEY_free(key);
    return out;
}

void cert_replace(const struct cert *at, const struct cert *by)
{
    ck_assert_int_eq(rename(by->cert, at->cert), 0);
    ck_assert_int_eq(rename(by->key, at->key), 0);
}

void cert_append(const char *to, const char *from)
{
    char part[4096];
    size_t length;
    FILE *in = fopen(from, "re"), *out = fopen(to, "ae");
    ck_assert(in && out);
    while ((length = fread(part, 1, sizeof part, in)) > 0)
        ck_assert_uint_eq(fwrite(part, 1, length, out), length);
    fclose(in);
    ck_assert_int_eq(fclose(out), 0);
}

void cert_link(const struct cert *cert, const char *folder)
{
    char path[200];
    FILE *file = fopen(cert->cert, "re");
    ck_assert_ptr_nonnull(file);
    X509 *x509 = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert_ptr_nonnull(x509);
    snprintf(path, sizeof path, "%s/%08lx.0", folder, X509_subject_name_hash(x509));
    X509_free(x509);
    (void)unlink(path);
    ck_assert_int_eq(symlink(cert->cert, path), 0);
}
