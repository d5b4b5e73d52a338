"""What makes a bundle out of a statement.

signer          what every signer does
key             a private key in a file
sigstore        a key for one signature, certified for whoever an identity token names
identity_token  where that token comes from
"""
