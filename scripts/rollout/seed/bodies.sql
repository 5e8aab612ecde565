-- What the seeded mails say. Most are short replies in plain text. Every sixteenth is a campaign's newsletter, in HTML as mail
-- programs need it: tables, each style in its tag, a picture and a link with a token of its own in each block. So it is in mailboxes:
-- a few long mails hold most of the bytes. Whether storage compresses content depends on just that; Postgres looks at rows above
-- 2 kB alone, and at each value by itself.

create or replace function pg_temp.sentence(salt bigint, n bigint) returns text
immutable language sql return (array[
    'Thank you for the call on Tuesday, it helped me to see where your team loses time.',
    'I had a look at your careers page and saw that you are hiring three people for outbound.',
    'Most of our customers had the same question before they moved their mailboxes.',
    'Would a short demo next week suit you, perhaps on Thursday at ten?',
    'We could begin with two domains and see how they warm up before adding more.',
    'The offer that I attached is valid until the end of the month.',
    'Please have your colleagues in finance look at the second page, where the discount is.',
    'As promised, here is the summary of what we agreed on.',
    'Deliverability went from 81 to 96 percent within six weeks at a company of your size.',
    'If somebody else is the right person to talk to, I would be grateful for a name.',
    'I understand that budgets are tight at the moment, so we kept the first step small.',
    'Our onboarding takes about two hours, and nobody has to install anything.',
    'The numbers below are from your own campaigns of the last quarter.',
    'You mentioned that replies get lost between three inboxes; this is what we would change first.',
    'Your current provider limits you to fifty messages a day and mailbox, which explains the delays.',
    'Let me know whether the invoice should go to the subsidiary or to the parent company.',
    'We have moved the kick-off to Monday because of the public holiday.',
    'Nothing is sent before you have approved the texts and the list of recipients.',
    'The report shows bounces by domain, and two of them stand out.',
    'I will be travelling until Friday and can be reached by mail.',
    'Could you confirm the billing address once more, the postal code looks odd?',
    'In the meantime I asked our engineers about the webhook, and it is possible.',
    'There is no minimum term; you can leave at the end of any month.',
    'Sorry for the late answer, last week was busier than expected.',
    'For the next sequence I suggest a shorter subject and only one link.',
    'The test group opened twice as often when the first line named their product.',
    'One thing is still open on our side: the list of excluded companies.',
    'We keep data in Frankfurt only, and the contract says so in paragraph nine.',
    'Feel free to forward this to whoever looks after your sender reputation.',
    'After the trial you keep the templates, whatever you decide.',
    'Two of the five steps had no follow-up, which is easy to repair.',
    'I am glad that the migration went well and that nobody noticed it.'
])[1 + pg_temp.pick(salt, n, 32)];

create or replace function pg_temp.first_name(salt bigint, n bigint) returns text
immutable language sql return (array[
    'Amara', 'Bruno', 'Chiara', 'Dmitri', 'Elif', 'Farid', 'Greta', 'Hugo', 'Ines', 'Jonas', 'Kenji', 'Leila', 'Marta', 'Nils', 'Olga', 'Pavel'
])[1 + pg_temp.pick(salt, n, 16)];

create or replace function pg_temp.is_newsletter(n bigint) returns boolean
immutable language sql return mod(n, 16) = 0;

-- One to five sentences; spelled out, because a query in it would cost more than all the rest.
create or replace function pg_temp.plain(n bigint) returns text
immutable language sql return 'Message ' || n || ': ' || pg_temp.sentence(201, n)
    || case when pg_temp.pick(22, n, 5) > 0 then ' ' || pg_temp.sentence(202, n) else '' end
    || case when pg_temp.pick(22, n, 5) > 1 then ' ' || pg_temp.sentence(203, n) else '' end
    || case when pg_temp.pick(22, n, 5) > 2 then ' ' || pg_temp.sentence(204, n) else '' end
    || case when pg_temp.pick(22, n, 5) > 3 then ' ' || pg_temp.sentence(205, n) else '' end
    || E'\n' || pg_temp.first_name(241, n);

-- Of tenant t, 10 to 40 blocks.
create or replace function pg_temp.newsletter(n bigint, t bigint) returns text
immutable language sql return (
    select format($html$<!DOCTYPE html>
<html lang="en"><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8"><meta name="viewport" content="width=device-width">
<style type="text/css">body{margin:0;padding:0;background:#f4f4f5}table{border-collapse:collapse}img{border:0;display:block}a{color:#%1$s}
@media only screen and (max-width:600px){.container{width:100%%!important}.cell{padding-left:16px!important;padding-right:16px!important}}</style></head>
<body style="margin:0;padding:0;background-color:#f4f4f5"><table role="presentation" width="100%%" cellpadding="0" cellspacing="0" border="0">
<tr><td align="center" style="padding:24px 0"><table role="presentation" class="container" width="600" cellpadding="0" cellspacing="0" border="0">
<tr><td class="cell" style="padding:24px 32px;background-color:#%1$s"><img src="https://img.tenant%2$s.example/logo.png" width="140" alt="Logo"></td></tr>
<tr><td class="cell" style="padding:24px 32px;font-family:Arial,sans-serif;font-size:15px;line-height:24px;color:#27272a">Hello %3$s,</td></tr>
%4$s
<tr><td class="cell" style="padding:16px 32px;font-family:Arial,sans-serif;font-size:12px;line-height:18px;color:#71717a">Message %5$s.
<a href="https://click.tenant%2$s.example/u/%6$s" style="color:#71717a">Unsubscribe</a></td></tr></table></td></tr></table>
<img src="https://click.tenant%2$s.example/o/%6$s.gif" width="1" height="1" alt=""></body></html>$html$,
        lpad(to_hex(pg_temp.pick(242, t, 16777216)), 6, '0'), t, pg_temp.first_name(240, n), string_agg(b.block, E'\n' order by b.k), n, md5('to' || n)
    )
    from (
        select k, format($block$<tr><td class="cell" style="padding:0 32px 24px"><table role="presentation" width="100%%" cellpadding="0" cellspacing="0" border="0">
<tr><td width="140" valign="top"><img src="https://img.tenant%1$s.example/%2$s.jpg" width="120" height="90" alt="" style="border-radius:4px"></td>
<td valign="top" style="font-family:Arial,sans-serif;font-size:15px;line-height:24px;color:#27272a"><strong>%3$s</strong><br>%4$s<br>
<a href="https://click.tenant%1$s.example/c/%5$s?b=%6$s" style="color:#27272a;text-decoration:underline">Read on</a></td></tr></table></td></tr>$block$,
            t, pg_temp.pick(243 + k, n, 100000), pg_temp.sentence(300 + k, n), pg_temp.sentence(400 + k, n) || ' ' || pg_temp.sentence(500 + k, n),
            md5(n || '/' || k), k
        ) as block
        from generate_series(1, 10 + pg_temp.pick(244, n, 31)) as k
    ) as b
);
