"""Words before a value that say whether it is a secret: ``token``, the names of vendors, or ``checksum``."""

import re2

LABEL = re2.compile(
    rb"(?i:passw|passphrase|passcode|pwd|secret|token|credential|bearer|webhook|authorization|\bcookie|\bwallet"
    rb"|\bmnemonic|\bpepper\b|\blogin\s|sess(?:ion)?[_-]?(?:id|key|token|secret)\b|csrf|xsrf|hmac"
    rb"|connection_?string|\bdsn\b"
    rb"|(?:\b|_)pat(?:[^a-z]|$)|\botp|\btotp|\bseed|api-?key|private|encrypt|access(?:[^a-z]|$)|\bapi[\"']?\s*[=:])"
    rb"|[kK]eys?(?:[^a-z]|$)|KEYS?(?:[^A-Z]|$)|(?i:keys?)[\"' \t:=]|[aA]uth(?:[^a-z]|$)|AUTH(?:[^A-Z]|$)"
    rb"|[cC]reds?(?:[^a-z]|$)|[lL]ogin[\"']?\s*[=,]|(?:[cC]lient|[aA]pi|[sS]earch)\(|\bsas\b|Pass(?:[^a-z]|$)"
    rb"|[_-]pass\b|PASS"
)
_VENDOR_WORDS = (
    "abuseipdb adafruit alchemy algolia amplitude apify apollo asana assemblyai auth0 baremetrics beamer bitly "
    "bittrex calendly campaignmonitor chargebee checkout clearbit clickup cloudflare cloudinary cloudsmith codacy "
    "codeclimate codecov coinbase coinmarketcap coveralls crowdin cypress datadog deepgram deepl deepseek "
    "digicert discord docusign elevenlabs etherscan fastly finicity finnhub flickr freshbooks freshdesk geocod "
    "gitter gocardless heroku honeycomb hubspot hunter infura intercom ipinfo jumpcloud kraken kucoin lastfm "
    "livekit lokalise looker mailchimp mailgun mapbox mattermost messagebird mistral mixpanel monday nasa netlify "
    "newrelic nightfall nytimes okta onfido openai openweather opsgenie optimizely pagerduty pastebin paypal "
    "pinecone pingdom pipedrive plaid postmark pubnub pusher rapidapi razorpay recaptcha rollbar runway scaleway "
    "segment sendbird sendgrid sendinblue sentry shodan shutterstock smtp2go snyk sonar spotify squarespace "
    "statuspage storyblok stytch sumologic surge tavily telnyx thingsboard todoist trello twilio twitch twitter "
    "typeform unsplash virustotal vonage wandb weather weatherbit webex wepay woocommerce yelp youtube zendesk "
    "zoho zoom"
)
VENDOR = re2.compile(
    rb"(?i)(?:"
    + "|".join(_VENDOR_WORDS.split()).encode()
    + rb")[\w.-]{0,30}[\"']?\s*(?:[:=]|=>|,|\(|\s-[a-z][ \t])\s*[\"'`]?$"
)
OWN_LABEL = re2.compile(rb"(?i)[A-Za-z0-9_-]{0,40}(?:secret|token|key|access|passw(?:or)?d|auth)[_-]+")
NO_LABEL = re2.compile(
    rb"(?i)hash|digest|checksum|sha-?[1-9]|md5|fingerprint|integrity|etag|commit|revision|\brev\b|\boid\b"
    rb"|public|\bpub|cert"
    rb"|thumbprint|cache|primary|foreign|partition|idempoten|key_?id|\bkid\b|nonce|\bsalt|guid|uuid|trace"
    rb"|version|keyword"
    rb"|(?:^|[^a-z])id[\"']?\s*[:=]|keygrip|h1:|narhash|ssh-|ecdsa|data:[a-z]+/|base64,|charset|alphabet"
    rb"|signature|tokeniz|tree |object|websocket|algorithm|://"
)
NOT_ALONE = re2.compile(
    rb"(?i)hash|digest|checksum|sha-?[1-9]|md5|fingerprint|integrity|etag|public|\bpub|cert|thumbprint|h1:|ssh-|ecdsa"
    rb"|data:|base64,|charset|alphabet|signature|mappings|salt|nonce|\bsig\b|encoded|websocket|://[^\s\"'<>?]*$"
    rb"|(?-i:[a-z]I|_i|\bi|\bI|_I|[A-Z]I)[dD](?:entifier)?s?[\"']?\s*(?:[:=]|=>)\s*[\"'\[(b]*$"
)
DETACHED = re2.compile(
    rb"(?i)(?:^|[^a-z])(?:default|values?|val|text|string|content|data)[\"']?\s*(?:[:=]|=>|>)\s*[\"'`|>-]*\s*$"
)
